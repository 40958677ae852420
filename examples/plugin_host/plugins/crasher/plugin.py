"""Does its work, until a bug in native code reads address zero."""

import ctypes
import subprocess

from tally import begin, handle, summary

__all__ = ["begin", "handle", "summary", "start_helper", "read_native_header"]


def start_helper() -> int:
    """Starts a long-lived helper in a session of its own, as careless plugins do. Nobody here will ever stop it."""
    return subprocess.Popen(["sleep", "600"], start_new_session=True).pid


def read_native_header() -> int:
    """A segmentation fault: the header is at address 0, because nobody checked what the allocation returned."""
    header = ctypes.c_uint32.from_address(0)
    return header.value
