"""Scalars and arrays of numpy. Nothing of ours imports numpy."""

import pytest

np = pytest.importorskip("numpy")

import erlang  # noqa: E402
from erlang import binary_to_term, term_to_binary  # noqa: E402


def through(value):
    return binary_to_term(term_to_binary(value))


@pytest.mark.parametrize(
    "value, same",
    [
        (np.int8(-3), -3),
        (np.int64(2**62), 2**62),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float32(1.5), 1.5),
        (np.float64(2.5), 2.5),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.bytes_(b"\xff"), b"\xff"),
        (np.datetime64("2024-01-02"), "2024-01-02"),
    ],
)
def test_scalars_are_values(value, same):
    again = through([value])[0]
    assert again == same and type(again) is type(same)


def test_nan_is_an_atom():
    assert term_to_binary(np.float64("nan")) == term_to_binary(float("nan"))


def test_arrays_are_nested_lists():
    assert through(np.arange(6).reshape(2, 3)) == [[0, 1, 2], [3, 4, 5]]
    assert through({"a": np.array([1.5, 2.5])}) == {"a": [1.5, 2.5]}
    assert through(np.array(7)) == 7
    assert through(np.zeros((0, 3))) == []


def test_what_has_no_counterpart_inside_is_refused():
    with pytest.raises(erlang.TermError) as caught:
        term_to_binary([np.array([1j])])
    assert caught.value.path == "term[0][0]"


def test_a_scalar_wider_than_pythons_is_refused():
    if np.longdouble is np.float64 or not isinstance(np.longdouble(1).item(), np.longdouble):
        pytest.skip("longdouble is a float here")
    with pytest.raises(erlang.TermError, match="no counterpart"):
        term_to_binary(np.longdouble(1))
