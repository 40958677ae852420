"""The types of the package."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref

import pytest

import erlang
from erlang import binary_to_term, term_to_binary

PID = binary_to_term(b"\x83\x58\x77\x0dnonode@nohost\0\0\0\x7b\0\0\0\0\0\0\0\0")
EXPORT = binary_to_term(b"\x83\x71\x77\x05lists\x77\x03map\x61\x02")


def test_atoms():
    a = erlang.Atom("a")
    assert str(a) == "a" and repr(a) == "erlang.Atom('a')" and hash(a) == hash("a")
    assert a == erlang.Atom("a") and a != erlang.Atom("b") and a != "a" and "a" != a
    assert erlang.Atom("a") < erlang.Atom("b") <= erlang.Atom("b") and max(erlang.Atom("x"), erlang.Atom("y")) == erlang.Atom("y")
    with pytest.raises(TypeError):
        a < "b"
    assert {a: 1, "a": 2} == {"a": 2, erlang.Atom("a"): 1}


def test_atoms_are_of_at_most_255_characters():
    assert str(erlang.Atom("π" * 255)) == "π" * 255
    with pytest.raises(ValueError):
        erlang.Atom("a" * 256)
    with pytest.raises(ValueError):
        erlang.Atom("\ud800")
    for bad in (b"a", 1, None):
        with pytest.raises(TypeError):
            erlang.Atom(bad)


@pytest.mark.parametrize("cls", [erlang.Pid, erlang.Port, erlang.Ref, erlang.Fun, erlang.Export])
def test_opaque_terms_cannot_be_made(cls):
    for args in ((), (b"x",)):
        with pytest.raises(TypeError, match="comes from Erlang"):
            cls(*args)
    with pytest.raises(TypeError):
        object.__new__(cls)


@pytest.mark.parametrize("cls", [erlang.Atom, erlang.Pid, erlang.BitString, erlang.ImproperList])
def test_types_are_final(cls):
    with pytest.raises(TypeError):
        type("Mine", (cls,), {})


def test_terms_are_immutable():
    with pytest.raises(AttributeError):
        PID.x = 1
    with pytest.raises(AttributeError):
        PID.node = "x"
    with pytest.raises(AttributeError):
        erlang.ImproperList([1], 2).tail = 3


def test_bit_strings():
    one = erlang.BitString(b"\xff\xff", 3)
    assert one.data == b"\xff\xe0" and one.last_bits == 3 and one.bit_length == 11
    assert one == erlang.BitString(b"\xff\xe0", 3) != erlang.BitString(b"\xff\xe0", 4)
    assert repr(one) == "erlang.BitString(b'\\xff\\xe0', 3)"
    for bad in ((b"", 1), (b"a", 0), (b"a", 8)):
        with pytest.raises(ValueError):
            erlang.BitString(*bad)


def test_improper_lists():
    one = erlang.ImproperList([1, 2], "t")
    assert one.items == (1, 2) and one.tail == "t" and repr(one) == "erlang.ImproperList([1, 2], 't')"
    assert one == erlang.ImproperList((1, 2), "t") and hash(one) == hash(erlang.ImproperList((1, 2), "t"))
    assert one != erlang.ImproperList([1, 2], "u") and one != [1, 2]
    with pytest.raises(ValueError):
        erlang.ImproperList([], 1)
    with pytest.raises(TypeError):
        hash(erlang.ImproperList([[]], 1))


def test_improper_lists_in_cycles_are_collected():
    class Thing:
        pass

    thing = Thing()
    thing.it = erlang.ImproperList([thing], thing)
    seen = weakref.ref(thing)
    del thing
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("value", [PID, EXPORT, erlang.Atom("é"), erlang.BitString(b"a", 5), erlang.ImproperList([1], PID)])
def test_terms_can_be_pickled_and_copied(value):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(value, protocol))
        assert again == value and type(again) is type(value)
    assert copy.deepcopy([value]) == [value]


def test_node():
    assert PID.node == "nonode@nohost"


def test_errors():
    assert issubclass(erlang.TermError, erlang.ErlangError) and issubclass(erlang.TermError, ValueError)
    assert erlang.TermError.__module__ == "erlang" and erlang.Pid.__module__ == "erlang"


def test_from_many_threads():
    value = {"a": [1, 2.5, None, "text"], "b": {i: str(i) for i in range(200)}}
    wrong = []

    def work():
        for _ in range(300):
            if binary_to_term(term_to_binary(value)) != value:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_references_do_not_grow():
    value = {"a": [1.5, (2, b"\xff"), PID, erlang.Atom("x"), 2**80, "x" * 70000], erlang.Atom("k"): {3}}
    encoded = term_to_binary(value)
    if not hasattr(sys, "getallocatedblocks"):
        pytest.skip("cannot count")
    for _ in range(3):
        binary_to_term(encoded), term_to_binary(value)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(2000):
        binary_to_term(encoded)
        term_to_binary(value)
    gc.collect()
    assert sys.getallocatedblocks() - before < 200


def run_here(code):
    """Runs the code in a fresh process of the program that we are in."""
    program = os.path.realpath("/proc/self/exe")
    switch = ["--python"] if os.path.basename(program).startswith("py_worker") else []
    package = os.path.dirname(erlang.__path__[0])
    code = f"import sys; sys.path.insert(0, {package!r}); {code}"
    return subprocess.run([program, *switch, "-S", "-c", code], capture_output=True, text=True)


def test_what_needs_erlang_says_what_to_do_outside_a_worker():
    done = run_here("sys.modules['_erlang'] = None; import erlang; erlang.call('f')")
    assert done.returncode == 1 and "RuntimeError: this Python is no py_port worker" in done.stderr
    assert "During handling" not in done.stderr
    done = run_here("sys.modules['_erlang_loop'] = None; import erlang; erlang.new_event_loop()")
    assert done.returncode == 1 and "RuntimeError: erlang.ErlangEventLoop works only in a py_port worker" in done.stderr


def test_importing_the_package_is_cheap():
    done = run_here("import erlang; print(' '.join(sys.modules))")
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "erlang" in loaded
    assert not loaded & {"asyncio", "logging", "dataclasses", "typing", "inspect", "re", "enum", "traceback"}


def test_conversion_imports_nothing():
    done = run_here("import erlang; before = set(sys.modules); erlang.term_to_binary([{1}, range(2), erlang.Atom('x'), b'x']);"
                    "erlang.register_encoder(type(sys), str); erlang.term_to_binary(sys); print(set(sys.modules) - before)")
    assert done.stdout == "set()\n", done.stderr
