"""Namespaces beside __main__, and names that are looked for in one."""

import sys

import pytest

from erlang import _names, _namespaces


def test_a_new_namespace_runs_code_as_main_does():
    space = vars(_namespaces.new())
    exec("total = sum([1, 2])\ndef f(): return total", space)
    assert eval("(f(), __name__)", space) == (3, "__main__")


def test_two_namespaces_share_nothing_but_modules():
    a, b = vars(_namespaces.new()), vars(_namespaces.new())
    exec("import sys\nx = 1", a)
    assert "x" not in b
    assert a["sys"] is sys


def test_a_namespace_is_in_no_table_of_modules():
    assert sys.modules["__main__"] is not _namespaces.new()


def test_a_function_is_found_in_a_namespace_by_its_path():
    space = _namespaces.new()
    exec("class C:\n  value = 7", vars(space))
    assert _names.resolve(space, "C.value") == 7
    with pytest.raises(AttributeError):
        _names.resolve(space, "D")
    with pytest.raises(ValueError):
        _names.resolve(space, "C.")


def test_functions_outlive_the_namespace_they_were_defined_in():
    space = _namespaces.new()
    exec("n = 1\ndef f():\n  global n\n  n += 1\n  return n, len('ab')", vars(space))
    f = space.f
    del space
    assert f() == (2, 2)
