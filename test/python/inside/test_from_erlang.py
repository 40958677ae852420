"""What encoded terms become in Python. The bytes are written out here, so that nothing of ours both makes and reads them."""

import math
import struct

import pytest

import erlang
from erlang import binary_to_term, term_to_binary

V = b"\x83"


def atom(name):
    text = name.encode()
    return b"\x77" + bytes([len(text)]) + text if len(text) < 256 else b"\x76" + struct.pack(">H", len(text)) + text


def binary(data):
    return b"\x6d" + struct.pack(">I", len(data)) + data


def integer(n):
    return b"\x61" + bytes([n]) if 0 <= n < 256 else b"\x62" + struct.pack(">i", n)


def float_(x):
    return b"\x46" + struct.pack(">d", x)


def big(n):
    magnitude = abs(n).to_bytes((abs(n).bit_length() + 7) // 8, "little")
    head = b"\x6e" + bytes([len(magnitude)]) if len(magnitude) < 256 else b"\x6f" + struct.pack(">I", len(magnitude))
    return head + bytes([n < 0]) + magnitude


def list_(*items, tail=b"\x6a"):
    return b"\x6c" + struct.pack(">I", len(items)) + b"".join(items) + tail


def tuple_(*items):
    return b"\x68" + bytes([len(items)]) + b"".join(items)


def map_(*pairs):
    return b"\x74" + struct.pack(">I", len(pairs)) + b"".join(key + value for key, value in pairs)


PID = b"\x58" + atom("nonode@nohost") + struct.pack(">III", 123, 4, 0)
REMOTE_PID = b"\x58" + atom("there@host") + struct.pack(">III", 7, 0, 99)
PORT = b"\x78" + atom("nonode@nohost") + struct.pack(">QI", 5, 0)
REF = b"\x5a" + struct.pack(">H", 3) + atom("nonode@nohost") + struct.pack(">IIII", 0, 1, 2, 3)
EXPORT = b"\x71" + atom("lists") + atom("map") + integer(2)
FUN_BODY = b"\x01" + b"u" * 16 + struct.pack(">II", 3, 0) + atom("shell") + integer(3) + integer(77) + PID
FUN = b"\x70" + struct.pack(">I", len(FUN_BODY) + 4) + FUN_BODY


def read(encoded):
    return binary_to_term(V + encoded)


def refusal(encoded):
    with pytest.raises(erlang.TermError) as caught:
        read(encoded)
    return caught.value.path, str(caught.value)


@pytest.mark.parametrize("n", [0, 1, 255, 256, -1, -(2**31), 2**31 - 1])
def test_small_integers(n):
    value = read(integer(n))
    assert value == n and type(value) is int


@pytest.mark.parametrize("n", [2**31, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, -(2**64), 2**1000 + 12345, -(2**1000) - 1, -(2**4000), 10**3000])
def test_integers_of_any_size_stay_integers(n):
    value = read(big(n))
    assert value == n and type(value) is int


@pytest.mark.parametrize("x", [0.0, -0.0, 1.5, 1e308, -5e-324])
def test_floats(x):
    value = read(float_(x))
    assert struct.pack(">d", value) == struct.pack(">d", x)


@pytest.mark.parametrize("text", ["", "a", "é", "abc\0def", "grüße", "日本語", "🙂" * 100, "a" * 70000, "ascii then é", "\ud7ff\ue000\U0010ffff"])
def test_a_binary_of_utf8_is_a_str(text):
    assert read(binary(text.encode())) == text


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"a\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"abc\xe2\x82", b"x" * 100 + b"\xf0\x9f\x99"],
)
def test_any_other_binary_is_bytes(data):
    with pytest.raises(UnicodeDecodeError):
        data.decode()
    assert read(binary(data)) == data


def test_bytes_tag_always_means_bytes():
    assert read(tuple_(atom("bytes"), binary(b"abc"))) == b"abc"
    assert read(list_(tuple_(atom("bytes"), binary(b"\xff")))) == [b"\xff"]


def test_bytes_tag_with_something_else_is_a_tuple():
    assert read(tuple_(atom("bytes"), integer(1))) == ("bytes", 1)
    assert read(tuple_(atom("bytes"), binary(b"a"), binary(b"b"))) == ("bytes", "a", "b")
    assert read(tuple_(binary(b"bytes"), binary(b"a"))) == ("bytes", "a")


def test_atoms_that_are_values():
    assert read(list_(atom("true"), atom("false"))) == [True, False]
    assert read(list_(atom("none"), atom("nil"), atom("undefined"))) == [None] * 3


@pytest.mark.parametrize("name", ["", "ok", "null", "nan", "Nil", "truee", "é", "π", "a" * 255, "π" * 255])
def test_other_atoms_are_str(name):
    assert read(atom(name)) == name


def test_latin1_atoms_are_text_too():
    assert read(b"\x73\x01\xe9") == "é"


def test_lists():
    assert read(b"\x6a") == []
    assert read(b"\x6b\x00\x03abc") == [97, 98, 99]
    assert read(list_(integer(1), list_(integer(2)))) == [1, [2]]


def test_improper_lists():
    value = read(list_(integer(1), integer(2), tail=integer(3)))
    assert type(value) is erlang.ImproperList and value.items == (1, 2) and value.tail == 3
    assert term_to_binary(value) == V + list_(integer(1), integer(2), tail=integer(3))


def test_a_tail_that_is_a_list_makes_a_list():
    assert read(list_(integer(1), tail=list_(integer(2), integer(3)))) == [1, 2, 3]
    assert read(list_(integer(1), tail=b"\x6b\x00\x01\x02")) == [1, 2]


def test_tuples():
    assert read(tuple_()) == ()
    assert read(tuple_(atom("ok"), tuple_(integer(1)))) == ("ok", (1,))
    assert read(b"\x69" + struct.pack(">I", 300) + integer(1) * 300) == (1,) * 300


def test_maps():
    assert read(map_()) == {}
    assert read(map_((atom("a"), integer(1)), (binary(b"b"), list_(integer(2))))) == {"a": 1, "b": [2]}
    assert read(map_((tuple_(integer(1), binary(b"x")), atom("nil")), (float_(1.5), atom("true")))) == {(1, "x"): None, 1.5: True}


def test_a_map_of_100000_keys():
    pairs = [(binary(b"key %d" % i), integer(i)) for i in range(100_000)]
    assert read(map_(*pairs)) == {f"key {i}": i for i in range(100_000)}


@pytest.mark.parametrize("one, other", [(atom("a"), binary(b"a")), (integer(1), float_(1.0)), (integer(1), atom("true")), (atom("nil"), atom("none"))])
def test_keys_that_are_equal_in_python_are_refused(one, other):
    path, text = refusal(list_(map_((one, integer(1)), (other, integer(2)))))
    assert path.startswith("term[0]") and "equal in Python" in text


@pytest.mark.parametrize("key, kind", [(list_(integer(1)), "list"), (map_(), "dict"), (tuple_(list_(integer(1))), "tuple")])
def test_keys_that_cannot_be_hashed_are_refused(key, kind):
    path, text = refusal(map_((integer(0), integer(0)), (key, integer(1))))
    assert path == "term.keys()[1]" and kind in text


@pytest.mark.parametrize(
    "encoded, kind, shown",
    [
        (PID, "Pid", "<erlang.Pid 0.123.4>"),
        (REMOTE_PID, "Pid", "<erlang.Pid 0.7.0 there@host>"),
        (PORT, "Port", "<erlang.Port 0.5>"),
        (REF, "Ref", "<erlang.Ref 0.3.2.1>"),
        (EXPORT, "Export", "<erlang.Export lists:map/2>"),
        (FUN, "Fun", "<erlang.Fun shell/1>"),
    ],
)
def test_opaque_terms_go_back_byte_for_byte(encoded, kind, shown):
    value = read(encoded)
    assert type(value) is getattr(erlang, kind) and repr(value) == shown
    assert term_to_binary(value) == V + encoded
    assert value == read(encoded) and hash(value) == hash(read(encoded))
    assert {value: 1}[read(encoded)] == 1


def test_bit_strings():
    encoded = b"\x4d" + struct.pack(">IB", 2, 3) + b"\xff\xa0"
    value = read(encoded)
    assert value == erlang.BitString(b"\xff\xa0", 3) and value.bit_length == 11
    assert term_to_binary(value) == V + encoded


def test_a_tuple_that_only_looks_like_an_object_reference_is_a_tuple():
    assert read(tuple_(atom("$py_ref"), integer(1), integer(2), integer(3))) == ("$py_ref", 1, 2, 3)
    value = read(tuple_(atom("$py_ref"), PID, integer(0), big(-(2**70))))
    assert value[0] == "$py_ref" and value[3] == -(2**70)


@pytest.mark.parametrize("incarnation, handle", [(1, 1), (0, 77)])
def test_object_references_that_lead_nowhere_are_refused(incarnation, handle):
    path, text = refusal(list_(tuple_(atom("$py_ref"), PID, integer(incarnation), integer(handle))))
    assert path == "term[0]" and "object reference" in text


def test_as_deep_as_allowed_and_one_deeper():
    value = read(b"".join([b"\x6c\x00\x00\x00\x01"] * 1024) + integer(1) + b"\x6a" * 1024)
    for _ in range(1024):
        (value,) = value
    assert value == 1
    path, text = refusal(b"".join([b"\x6c\x00\x00\x00\x01"] * 1025) + integer(1) + b"\x6a" * 1025)
    assert "deeper than 1024" in text and len(path) < 300


def test_depth_is_left_again():
    assert read(list_(*[list_(integer(1))] * 3000)) == [[1]] * 3000
    assert read(list_(*[tuple_(atom("bytes"), binary(b"x"))] * 3000)) == [b"x"] * 3000


@pytest.mark.parametrize("cut", [1, 5, 9, 12, 20])
def test_a_cut_term_is_refused(cut):
    whole = V + list_(binary(b"hello"), map_((atom("k"), float_(1.0))))
    with pytest.raises(erlang.TermError):
        binary_to_term(whole[:cut])


def test_rubbish_is_refused():
    for bad in (b"", b"\x82\x61\x01", V, V + b"\xff", V + integer(1) + b"!", V + b"\x50" + struct.pack(">I", 10) + b"x"):
        with pytest.raises(erlang.TermError):
            binary_to_term(bad)
    with pytest.raises(TypeError):
        binary_to_term("text")


def test_the_path_of_a_bad_place_in_depth():
    bad = map_((list_(integer(1)), integer(1)))
    path, _ = refusal(tuple_(integer(1), map_((atom("key"), list_(map_((binary(b"two words"), bad)))))))
    assert path == "term[1].key[0]['two words'].keys()[0]"


def test_nan_does_not_come_in():
    with pytest.raises(erlang.TermError):
        read(float_(math.nan))
