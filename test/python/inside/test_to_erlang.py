"""What Python values become. A value goes out and comes back; what is refused is named."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import struct
import types
import typing
import uuid

import pytest

import erlang
from erlang import binary_to_term, term_to_binary

V = b"\x83"


def through(value):
    return binary_to_term(term_to_binary(value))


def refusal(value):
    with pytest.raises(erlang.TermError) as caught:
        term_to_binary(value)
    assert str(caught.value).startswith(caught.value.path + ": ")
    return caught.value.path, str(caught.value)


@pytest.mark.parametrize("n", [0, 1, -1, 255, 256, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64])
def test_integers(n):
    assert through(n) == n


@pytest.mark.parametrize("bits", [65, 100, 1000, 2039, 2040, 2041, 2048, 20000])
def test_integers_of_any_size(bits):
    for n in (2**bits, 2**bits - 1, -(2**bits), -(2**bits) + 1):
        assert through(n) == n


def test_wire_form_of_integers():
    assert term_to_binary(255) == V + b"\x61\xff"
    assert term_to_binary(-1) == V + b"\x62\xff\xff\xff\xff"
    assert term_to_binary(2**64) == V + b"\x6e\x09\x00" + b"\0" * 8 + b"\x01"
    assert term_to_binary(-(2**63) - 1)[:4] == V + b"\x6e\x08\x01"


def test_constants():
    assert term_to_binary([True, False, None]) == V + b"\x6c\0\0\0\x03\x77\x04true\x77\x05false\x77\x04none\x6a"


def test_floats():
    for x in (0.0, -0.0, 1.5, 1e308, 5e-324):
        assert struct.pack(">d", through(x)) == struct.pack(">d", x)


def test_floats_that_erlang_has_not_are_atoms():
    assert term_to_binary(math.nan) == V + b"\x77\x03nan"
    assert term_to_binary(math.inf) == V + b"\x77\x08infinity"
    assert term_to_binary(-math.inf) == V + b"\x77\x0cneg_infinity"


@pytest.mark.parametrize("text", ["", "abc", "é", "日本語🙂", "\0", "a" * 65535, "a" * 65536, "é" * 40000, "x" * 1_000_000])
def test_str_is_a_binary_of_utf8(text):
    data = text.encode()
    assert term_to_binary(text) == V + b"\x6d" + struct.pack(">I", len(data)) + data


def test_a_lone_surrogate_is_refused():
    path, text = refusal({"ok": ["fine", "bad\ud800"]})
    assert path == "term.ok[1]" and "surrogate" in text


@pytest.mark.parametrize("data", [b"", b"a\xff", b"\xff" * 65536, b"\x00" * 300_000])
def test_bytes_and_buffers_are_binaries(data):
    wire = V + b"\x6d" + struct.pack(">I", len(data)) + data
    for value in (data, bytearray(data), memoryview(data), memoryview(bytearray(data))):
        assert term_to_binary(value) == wire


def test_memoryviews_with_gaps_and_other_formats():
    assert term_to_binary(memoryview(b"abcdef")[::2]) == term_to_binary(b"ace")
    assert term_to_binary(memoryview(b"abc")[::-1]) == term_to_binary(b"cba")
    assert term_to_binary(memoryview(array.array("I", [1, 2]))) == term_to_binary(array.array("I", [1, 2]).tobytes())


def test_large_pieces_keep_their_places():
    value = [b"a" * 70000, "between", {"k": "b" * 70000, "l": 2}, b"\xff" * 65536, 1]
    assert through(value) == ["a" * 70000, "between", {"k": "b" * 70000, "l": 2}, b"\xff" * 65536, 1]


def test_large_pieces_in_keys():
    assert through({"k" * 70000: 1, b"\xff" * 70000: 2, ("x" * 70000, 1): 3}) == {"k" * 70000: 1, b"\xff" * 70000: 2, ("x" * 70000, 1): 3}


class MyInt(int):
    pass


class MyStr(str):
    pass


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyFloat(float):
    pass


class MyBytes(bytes):
    pass


class Point(typing.NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    "value, same",
    [
        (MyInt(7), 7),
        (MyInt(2**70), 2**70),
        (MyFloat(1.5), 1.5),
        (MyStr("a"), "a"),
        (MyBytes(b"\xff"), b"\xff"),
        (MyList([1]), [1]),
        (MyDict(a=1), {"a": 1}),
        (Point(1, 2), (1, 2)),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
    ],
)
def test_subclasses_are_like_their_base(value, same):
    assert term_to_binary(value) == term_to_binary(same)


@pytest.mark.parametrize(
    "value, same",
    [
        ({3}, [3]),
        (frozenset(), []),
        (range(3), [0, 1, 2]),
        (range(0), []),
        (collections.deque([1, "a"]), [1, "a"]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.items(), [("a", 1)]),
        (collections.OrderedDict(a=1).keys(), ["a"]),
        (array.array("d", [1.5, 2.5]), [1.5, 2.5]),
        (array.array("b", [-1, 5]), [-1, 5]),
    ],
)
def test_other_collections_are_lists(value, same):
    assert through(value) == same


def test_a_set_of_many():
    assert sorted(through(set(range(5000)))) == list(range(5000))


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Bits(enum.IntFlag):
    A = 1
    B = 2


class Word(str, enum.Enum):
    HELLO = "hello"


def test_enums_are_their_values():
    assert through([Colour.RED, Colour.PAIR, Level.LOW, Bits.A | Bits.B, Word.HELLO]) == ["red", (1, 2), 1, 3, "hello"]
    assert through({Colour.RED: Level.LOW}) == {"red": 1}


@dataclasses.dataclass
class Inner:
    n: int


@dataclasses.dataclass(frozen=True)
class Outer:
    kinds: typing.ClassVar[int] = 3
    name: str
    inner: Inner
    later: int = dataclasses.field(init=False, repr=False, compare=False)


def test_dataclasses_are_maps_of_their_fields():
    outer = Outer("a", Inner(1))
    object.__setattr__(outer, "later", 5)
    assert through([outer, Inner(2)]) == [{"name": "a", "inner": {"n": 1}, "later": 5}, {"n": 2}]


def test_a_dataclass_with_a_missing_field_is_refused():
    path, text = refusal([Outer("a", Inner(1))])
    assert path == "term[0].later" and "no value" in text


def test_dates_and_times():
    when = datetime.datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=datetime.timezone.utc)
    assert through(when) == "2024-01-02T03:04:05.000678+00:00"
    assert through(when.date()) == "2024-01-02"
    assert through(when.time()) == "03:04:05.000678"
    assert through(datetime.timedelta(minutes=1, milliseconds=500)) == 60.5


def test_texts():
    some = uuid.UUID(int=1)
    assert through([decimal.Decimal("1.10"), some, pathlib.PurePosixPath("/a/b"), pathlib.Path("c")]) == ["1.10", str(some), "/a/b", "c"]


def test_erlang_terms():
    atom = erlang.Atom("hello world")
    assert term_to_binary(atom) == V + b"\x77\x0bhello world"
    assert term_to_binary(erlang.Atom("π" * 255))[:3] == V + b"\x76\x01"
    assert term_to_binary({atom: atom}) == V + b"\x74\0\0\0\x01" + (b"\x77\x0bhello world") * 2
    assert term_to_binary(erlang.ImproperList([1, 2], b"t")) == V + b"\x6c\0\0\0\x02\x61\x01\x61\x02\x6d\0\0\0\x01t"
    assert through(erlang.ImproperList([1], [2])) == [1, 2]


def generator():
    yield 1


@pytest.mark.parametrize(
    "value, name",
    [
        (generator(), "generator"),
        (iter([1]), "list_iterator"),
        (map(str, [1]), "map"),
        (math, "module"),
        (len, "builtin_function_or_method"),
        (generator, "function"),
        (int, "type"),
        (Inner, "type"),
        (Colour, f"enum.{type(Colour).__name__}"),
        (..., "ellipsis"),
        (object(), "object"),
        (types.SimpleNamespace(a=1), "types.SimpleNamespace"),
        (1j, "complex"),
        (fractions.Fraction(1, 3), "fractions.Fraction"),
        (ValueError("x"), "ValueError"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_its_path_and_type(value, name):
    path, text = refusal({"list": [1, (2, value)]})
    assert path == "term.list[1][1]"
    assert f"a {name} " in text


def test_paths():
    assert refusal(object())[0] == "term"
    assert refusal({object(): 1})[0] == "term.keys()[0]"
    assert refusal({1: {b"k": {(1, 2): object()}}})[0] == "term[1][b'k'][<tuple>]"
    assert refusal({"not an identifier": object()})[0] == "term['not an identifier']"
    assert refusal({"long " * 50: object()})[0].endswith("...]")
    assert refusal({10**5000: object()})[0].startswith("term[")
    assert refusal(erlang.ImproperList([1], object()))[0] == "term.tail"
    assert refusal([Inner(object())])[0] == "term[0].n"


@pytest.mark.parametrize("value", [{"a": 1, b"a": 2}, {b"a": 1, "a": 2}, {erlang.Atom("none"): 1, None: 2}, {math.nan: 1, float("nan"): 2}, {("a",): 1, (b"a",): 2}, {1: 0, Colour.RED: 1, "red": 2}])
def test_keys_that_are_equal_in_erlang_are_refused(value):
    path, text = refusal([value])
    assert path.startswith("term[0].keys()[") and "equal in Erlang" in text


@pytest.mark.parametrize("value", [{"a": 1, b"b": 2, 3: 4, None: 5, 1.5: 6, (1, "x"): 7}, {1: "a", "1": "b"}])
def test_mixed_keys_that_differ(value):
    assert len(through(value)) == len(value)


def test_an_atom_key_and_a_text_key_differ():
    assert term_to_binary({erlang.Atom("x"): 1, "x": 2}).startswith(V + b"\x74\0\0\0\x02")


def test_a_dict_of_100000_keys():
    value = {f"key {i}": i for i in range(100_000)}
    assert through(value) == value
    mixed = {(i if i % 2 else str(i)): i for i in range(100_000)}
    assert through(mixed) == mixed


def test_as_deep_as_allowed_and_one_deeper():
    value = []
    for _ in range(1023):
        value = [value]
    again = through(value)
    depth = 0
    while again:
        (again,) = again
        depth += 1
    assert depth == 1023
    path, text = refusal([[value, {1}]])
    assert "deeper than 1024" in text and len(path) < 300


def nest(make):
    inner = make(None)
    for _ in range(5000):
        inner = make(inner)
    return inner


@pytest.mark.parametrize("make", [lambda x: [x], lambda x: (x,), lambda x: {1: x}, lambda x: {1: x}.values(), lambda x: collections.deque([x]), Inner])
def test_too_deep_is_refused_whatever_it_is_made_of(make):
    assert "deeper than 1024" in refusal(nest(make))[1]


def test_what_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    table = {}
    table["self"] = table
    inner = Inner(0)
    inner.n = inner
    for value in (loop, table, inner):
        assert "contains itself" in refusal(value)[1]


def test_wide_is_not_deep():
    assert through([[[]]] * 5000) == [[[]]] * 5000
    assert through([{}, (), {1: {}}, Inner(1), Level.LOW] * 1500)[-1] == 1


def test_a_huge_range_does_not_take_the_memory():
    with pytest.raises(erlang.TermError):
        term_to_binary(["x" * 1_000_000] * 5000)


def test_what_a_value_raises_is_raised():
    class Bad(set):
        def __iter__(self):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        term_to_binary([Bad()])


def test_nothing_leaks_when_it_fails():
    import gc
    import sys

    inside = ["x" * 100_000, {"k": object()}]
    before = sys.getrefcount(inside[0]), sys.getrefcount(inside[1]), sys.getrefcount(inside)
    for _ in range(50):
        refusal([inside])
        gc.collect(0)
    assert (sys.getrefcount(inside[0]), sys.getrefcount(inside[1]), sys.getrefcount(inside)) == before
