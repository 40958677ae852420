import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "fake"))


@pytest.fixture
def node(monkeypatch):
    """A stand-in for the Erlang node, see test/python/fake/fake_node.py."""
    import fake_node

    node = fake_node.Node()
    node.install(monkeypatch)
    yield node
    node.close()
