"""Python values for the type mapping, by name, so that each case of the suite is one line."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import uuid
from typing import NamedTuple

import erlang


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Level(enum.IntEnum):
    HIGH = 3


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Person:
    name: str
    born: datetime.date
    tags: list


class MyInt(int):
    pass


class MyStr(str):
    pass


class MyList(list):
    pass


class Plain:
    pass


class Money:
    def __init__(self, cents):
        self.cents = cents


VALUES = {
    "true": True,
    "false": False,
    "none": None,
    "int": 7,
    "big": 2**200,
    "negative_big": -(2**70),
    "float": 1.5,
    "minus_zero": -0.0,
    "nan": float("nan"),
    "infinity": float("inf"),
    "neg_infinity": float("-inf"),
    "str": "grüße",
    "empty_str": "",
    "bytes": b"\xff\x00",
    "bytearray": bytearray(b"ab"),
    "memoryview": memoryview(b"abcdef")[::2],
    "list": [1, [2, []]],
    "tuple": (1, (), "x"),
    "namedtuple": Point(1, 2),
    "dict": {"a": 1, 2: b"b", (1, 2): None},
    "ordered": collections.OrderedDict([("k", 1)]),
    "counter": collections.Counter("aab"),
    "set": {5},
    "frozenset": frozenset([6]),
    "range": range(3),
    "dict_keys": {"k": 1}.keys(),
    "deque": collections.deque([1, 2]),
    "array": array.array("i", [1, 2]),
    "enum_str": Colour.RED,
    "enum_int": Colour.BLUE,
    "int_enum": Level.HIGH,
    "int_flag": Flags.A | Flags.B,
    "dataclass": Person("Ada", datetime.date(1815, 12, 10), ["x"]),
    "date": datetime.date(2024, 2, 29),
    "time": datetime.time(1, 2, 3),
    "datetime": datetime.datetime(2024, 2, 29, 1, 2, 3),
    "datetime_utc": datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc),
    "timedelta": datetime.timedelta(seconds=90),
    "decimal": decimal.Decimal("1.10"),
    "uuid": uuid.UUID(int=5),
    "path": pathlib.PurePosixPath("/a/b"),
    "my_int": MyInt(3),
    "my_str": MyStr("s"),
    "my_list": MyList([1]),
    "atom": erlang.Atom("ok"),
    "bitstring": erlang.BitString(b"\xa0", 3),
    "improper": erlang.ImproperList([1, 2], 3),
}

BAD = {
    "object": Plain(),
    "nested": {"rows": [1, (2, {"deep": Plain()})]},
    "function": len,
    "klass": Plain,
    "generator": (i for i in range(3)),
    "complex": 1j,
    "fraction": fractions.Fraction(1, 3),
    "surrogate": "\ud800",
    "same_keys": {"a": 1, b"a": 2},
    "ellipsis": ...,
    "exception": ValueError("x"),
}
LOOP = []
LOOP.append(LOOP)
BAD["itself"] = LOOP


def give(name):
    return VALUES[name]


def give_bad(name):
    return BAD[name]


def look(value):
    """Type and repr, all the way down for containers."""
    return [type(value).__name__, repr(value)]


def is_same(value, name):
    expected = VALUES[name]
    return type(value) is type(expected) and (value == expected or value != value)


def new_atom(name):
    return erlang.Atom(name)


def new_atoms(start, count):
    return [erlang.Atom(f"py_port_new_atom_{i}") for i in range(start, start + count)]


def from_external(data):
    return erlang.binary_to_term(data)


def with_encoder(cents):
    erlang.register_encoder(Money, lambda money: (erlang.Atom("money"), money.cents))
    try:
        return erlang.term_to_binary({"price": Money(cents)})
    finally:
        erlang.unregister_encoder(Money)


def deep_list(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def big_map(size):
    return {i: str(i) for i in range(size)}


def sum_of_keys(value):
    return sum(value)
