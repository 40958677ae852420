"""Runs pytest inside a worker: `py_worker-3.X --python test/pytest_in_worker.py SITE_PACKAGES ARGUMENT...`.

pytest comes from a virtual environment beside the build, so that neither the worker nor the machine's Python needs it.
It is put at the end of sys.path: what the worker itself brings (the package `erlang`) must win, as it does for users.
"""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background
    sys.path.append(sys.argv[1])
    import pytest

    sys.exit(pytest.main(sys.argv[2:]))
