"""Encoders for a user's own classes."""

import dataclasses
import datetime
import gc
import weakref

import pytest

import erlang
from erlang import binary_to_term, term_to_binary


def through(value):
    return binary_to_term(term_to_binary(value))


@pytest.fixture
def registered():
    """register(cls, function), undone after the test."""
    classes = []

    def register(cls, function):
        classes.append(cls)
        erlang.register_encoder(cls, function)

    yield register
    for cls in classes:
        erlang.unregister_encoder(cls)


class Money:
    def __init__(self, cents):
        self.cents = cents


class Euro(Money):
    pass


class Cent(Euro):
    pass


def test_the_decorator_registers_and_hands_the_function_back():
    @erlang.encoder(Money)
    def encode(money):
        return ("money", money.cents)

    try:
        assert encode(Money(3)) == ("money", 3)
        assert through([Money(1), {"k": Money(2)}]) == [("money", 1), {"k": ("money", 2)}]
    finally:
        assert erlang.unregister_encoder(Money) is True
    assert erlang.unregister_encoder(Money) is False
    with pytest.raises(erlang.TermError):
        term_to_binary(Money(1))


def test_the_nearest_class_decides(registered):
    registered(Money, lambda m: "money")
    assert through([Money(1), Euro(1), Cent(1)]) == ["money"] * 3
    registered(Euro, lambda m: "euro")
    assert through([Money(1), Euro(1), Cent(1)]) == ["money", "euro", "euro"]
    erlang.unregister_encoder(Euro)
    assert through(Cent(1)) == "money"


def test_a_second_registration_replaces_the_first(registered):
    registered(Money, lambda m: 1)
    assert through(Money(0)) == 1
    registered(Money, lambda m: 2)
    assert through(Money(0)) == 2


def test_registered_functions_come_before_the_defaults(registered):
    @dataclasses.dataclass
    class D:
        x: int

    class L(list):
        pass

    assert through([D(1), L([1]), datetime.date(2024, 1, 2), {1}]) == [{"x": 1}, [1], "2024-01-02", [1]]
    registered(D, lambda d: "d")
    registered(L, lambda value: "l")
    registered(datetime.date, lambda d: d.toordinal())
    registered(set, lambda s: ("set", sorted(s)))
    assert through([D(1), L([1]), datetime.date(1, 1, 2), {2, 1}]) == ["d", "l", 2, ("set", [1, 2])]


def test_object_is_the_last_resort(registered):
    registered(object, lambda value: "thing")
    assert through([Money(1), object(), {1}, datetime.date(2024, 1, 2), 5]) == ["thing", "thing", [1], "2024-01-02", 5]


@pytest.mark.parametrize("cls", [int, float, str, bytes, list, tuple, dict, bool, type(None)])
def test_fixed_forms_cannot_be_registered(cls):
    with pytest.raises(TypeError, match="fixed"):
        erlang.register_encoder(cls, repr)


def test_wrong_arguments():
    with pytest.raises(TypeError):
        erlang.register_encoder(Money, 3)
    with pytest.raises(TypeError):
        erlang.register_encoder(3, repr)
    with pytest.raises(TypeError):
        erlang.unregister_encoder("x")


def test_what_the_function_raises_is_raised(registered):
    def bad(money):
        raise LookupError(f"no rate for {money.cents}")

    registered(Money, bad)
    with pytest.raises(LookupError, match="no rate for 7"):
        term_to_binary([Money(7)])


def test_what_the_function_returns_may_need_encoding_again(registered):
    registered(Money, lambda m: [datetime.date(2024, 1, 2), Euro(m.cents)])
    registered(Euro, lambda m: m.cents)
    assert through(Money(4)) == ["2024-01-02", 4]


def test_a_function_that_returns_what_it_got_ends(registered):
    registered(Money, lambda m: m)
    with pytest.raises(erlang.TermError, match="deeper"):
        term_to_binary(Money(1))


def test_a_bad_result_is_named_with_the_path_of_the_value(registered):
    registered(Money, lambda m: {"raw": object()})
    with pytest.raises(erlang.TermError) as caught:
        term_to_binary({"a": [Money(1)]})
    assert caught.value.path == "term.a[0].raw"


@pytest.mark.parametrize("change", ["clear", "append", "pop"])
def test_a_function_that_changes_its_list_is_found_out(registered, change):
    value = [Money(1), Money(2), Money(3)]
    steps = {"clear": value.clear, "append": lambda: value.append(1), "pop": value.pop}
    registered(Money, lambda m: steps[change]() and 0)
    with pytest.raises(erlang.TermError, match="changed"):
        term_to_binary([value])


@pytest.mark.parametrize("change", ["clear", "add", "popitem", "exchange"])
def test_a_function_that_changes_its_dict_is_found_out(registered, change):
    value = {"a": Money(1), "b": Money(2), "c": 3}
    steps = {"clear": value.clear, "add": lambda: value.setdefault(len(value)), "popitem": value.popitem}
    steps["exchange"] = lambda: (value.clear(), value.update(dict.fromkeys(range(100))), [value.pop(i) for i in range(98)])
    registered(Money, lambda m: steps[change]() and 0)
    with pytest.raises(erlang.TermError, match="changed"):
        term_to_binary([value])


def test_a_function_may_register_and_unregister(registered):
    def meddle(money):
        erlang.unregister_encoder(Money)
        gc.collect()
        return money.cents

    registered(Money, meddle)
    assert through(Money(5)) == 5
    with pytest.raises(erlang.TermError):
        term_to_binary(Money(5))


def test_classes_are_not_kept_for_ever(registered):
    gone = []
    for i in range(3000):
        cls = dataclasses.make_dataclass(f"C{i}", ["x"]) if i % 100 == 0 else type(f"S{i}", (list,), {})
        term_to_binary(cls([1]))
        gone.append(weakref.ref(cls))
    del cls
    gc.collect()
    assert sum(ref() is not None for ref in gone) <= 1024
