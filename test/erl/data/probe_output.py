"""Everything that can print."""

import ctypes
import logging
import os
import subprocess
import sys
import warnings


def python_prints(text):
    print(text)


def python_prints_to_stderr(text):
    print(text, file=sys.stderr)


def without_newline(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def c_prints(text):
    libc = ctypes.CDLL(None)
    libc.puts(text.encode())
    libc.fflush(None)


def raw_write(fd, data):
    if isinstance(data, str):
        data = data.encode()
    return os.write(fd, data)


def child_prints(text):
    return subprocess.run([sys.executable, "-c", "import sys; print(sys.argv[1])", text], check=True).returncode


def shell_prints(text):
    return os.system("echo " + text)


def logs(text):
    logging.warning(text)


def warns(text):
    warnings.warn(text)


def flood(lines):
    for i in range(lines):
        sys.stdout.write("line %d of a flood that nobody asked for\n" % i)
    sys.stdout.flush()
    return lines


def long_line(size):
    print("x" * size)


def same_stdin():
    return sys.stdin.read() if sys.stdin else ""


def descriptors():
    """What a child of ours would inherit, apart from 0 to 2."""
    out = subprocess.run(["ls", "/proc/self/fd"], check=True, capture_output=True, text=True).stdout
    return sorted(int(fd) for fd in out.split())
