"""Does its work, and prints wherever it can: from C, and from a child process on both of its streams."""

import ctypes
import subprocess

from tally import begin, handle, summary

__all__ = ["begin", "handle", "summary", "print_rows"]

libc = ctypes.CDLL(None)


def print_rows(rows: str) -> int:
    lines = rows.splitlines()
    for line in lines:
        libc.puts(b"C: " + line.encode())
    libc.fflush(None)
    from_child = "".join(f"child: {line}\n" for line in lines).encode()
    subprocess.run(["cat"], input=from_child, check=True)
    subprocess.run(["sh", "-c", "cat >&2"], input=from_child, check=True)
    return len(lines)
