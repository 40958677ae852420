"""The types of the native module, python_pkg/erlang/_erlang_loop.pyi, name what it has, and it has what they name."""

import ast
import os

import pytest
from loop_support import IS_OURS

if not IS_OURS:
    pytest.skip("stock asyncio has nothing of this", allow_module_level=True)

import _erlang_loop
import erlang

with open(os.path.join(os.path.dirname(erlang.__file__), "_erlang_loop.pyi")) as _source:
    STUB = ast.parse(_source.read())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name for node in STUB.body if isinstance(node, ast.FunctionDef)}
NOT_A_NAME = {"SockCall"}  # what the sock_* methods return; nobody makes one


def members(node):
    for one in node.body:
        if isinstance(one, ast.FunctionDef):
            yield one.name
        elif isinstance(one, ast.AnnAssign):
            yield one.target.id


def test_every_public_name_has_a_type():
    native = {name for name in vars(_erlang_loop) if not name.startswith("_")}
    assert native - set(CLASSES) - FUNCTIONS == set()


def test_everything_that_has_a_type_is_there():
    assert (set(CLASSES) | FUNCTIONS) - NOT_A_NAME - set(vars(_erlang_loop)) == set()
    for name in set(CLASSES) - NOT_A_NAME:
        missing = [member for member in members(CLASSES[name]) if not hasattr(getattr(_erlang_loop, name), member)]
        assert missing == [], name


@pytest.mark.parametrize("name", sorted(set(CLASSES) - NOT_A_NAME))
def test_every_public_member_has_a_type_or_comes_from_asyncio(name):
    native = getattr(_erlang_loop, name)
    inherited = {member for base in native.__mro__[1:] for member in dir(base)}
    own = {member for member in vars(native) if not member.startswith("_")}
    assert own - set(members(CLASSES[name])) - inherited == set()
