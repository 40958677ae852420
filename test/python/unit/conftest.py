"""Unit tests of the package with `erlang.testing`: they run in a worker, and with any plain CPython 3.9 or later."""

import os
import sys

try:
    import _erlang  # noqa: F401
except ModuleNotFoundError:  # no worker: the package is that of the repository
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "..", "python_pkg"))

from erlang.testing import erlang_node  # noqa: E402, F401
