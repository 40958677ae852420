"""The package where there is no worker: terms and their external format in Python."""

import copy
import glob
import os
import pickle

import pytest

from erlang import _etf, _outside

GOLDEN = sorted(glob.glob(os.path.join(os.path.dirname(__file__), "..", "..", "golden", "etf", "*.etf")))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def decoded(data):
    try:
        return _etf.decode(data)
    except _outside.TermError:
        return None


def test_there_are_golden_terms():
    assert len(GOLDEN) > 50


@pytest.mark.parametrize("path", GOLDEN, ids=os.path.basename)
def test_a_term_of_erlangs_is_read_or_refused(path):
    """And what was read is the same after a trip through the format."""
    value = decoded(read(path))
    if value is not None:
        again = _etf.decode(_etf.encode(value))
        assert again == value or value != value


@pytest.mark.parametrize("path", GOLDEN, ids=os.path.basename)
def test_a_term_that_ends_too_early_is_refused(path):
    data = read(path)
    if decoded(data) is None:
        pytest.skip("it is malformed itself, or None")
    for end in range(0, len(data), max(1, len(data) // 50)):
        with pytest.raises(_outside.TermError):
            _etf.decode(data[:end])


@pytest.mark.parametrize("value", [
    0, 255, 256, -1, -(1 << 31), 1 << 31, 1 << 64, -(1 << 3000), 1.5, -0.0, "", "é\0😀", b"\xff", [], [1, [2]], (), (1, (2,)),
    {}, {"a": {1: [None, True, False]}}, list(range(300)), tuple(range(300)),
])  # fmt: skip
def test_values_keep_their_form(value):
    again = _etf.decode(_etf.encode(value))
    assert again == value and type(again) is type(value)


def test_atoms():
    atom = _outside.Atom("ok")
    assert atom == _outside.Atom("ok") and atom != "ok" and hash(atom) == hash("ok")
    assert pickle.loads(pickle.dumps(atom)) == copy.copy(atom) == atom and str(atom) == "ok" and repr(atom) == "erlang.Atom('ok')"
    for bad, error in ((1, TypeError), ("x" * 256, ValueError), ("\ud800", ValueError)):
        with pytest.raises(error):
            _outside.Atom(bad)
    with pytest.raises(AttributeError):
        atom._text = "other"


def test_pids_are_opaque():
    pid = _etf.decode(b"\x83\x58\x77\x0dnonode@nohost\0\0\0\x07\0\0\0\x01\0\0\0\0")
    assert repr(pid) == "<erlang.Pid 0.7.1>" and pid.node == "nonode@nohost"
    assert pickle.loads(pickle.dumps(pid)) == pid and len({pid, copy.copy(pid)}) == 1
    with pytest.raises(TypeError):
        _outside.Pid()


@pytest.mark.parametrize("value, path", [
    (object(), "term"), ([1, {"k": (1, 1j)}], "term[1].k[1]"), ({"a": 1, b"a": 2}, "term.keys()[1]"), ("\udc00", "term"),
])  # fmt: skip
def test_an_error_names_the_way_to_the_value(value, path):
    with pytest.raises(_outside.TermError) as caught:
        _etf.encode(value)
    assert caught.value.path == path


def test_a_list_in_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(_outside.TermError, match="deeper than"):
        _etf.encode(loop)
