"""Makes a virtual environment ready. A program, not a module: the Erlang module ``py_venv`` runs it with the Python that the environment is for.

It reads one line of JSON from stdin and ends when stdin does, with all that it has started: its processes are a group of their own. What pip or
uv print goes to stdout; the status is that of the first step that failed, 0 when the environment is ready.

One such program works on an environment at a time, whatever node started it: the kernel's lock on the file ``PATH.lock`` ends with its holder.
A file in the environment says how far it is::

    building OWNER          it is being made, or was when something broke it off: it is made anew, unless it is not ours
    ready STAMP OWNER       nothing is to be done for whoever wants STAMP

OWNER is ``ours`` for an environment that was made here, and ``theirs`` for one that was here before, which is changed but never removed (unless
the caller insists).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from typing import NoReturn, Optional

NOTE = ".py_port_venv"
REFUSED = 65  # EX_DATAERR


def main() -> int:
    try:
        os.setsid()
    except PermissionError:
        pass  # it leads a group already
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_stdin, daemon=True).start()
    path = job["path"]
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".lock", "a") as lock:  # it may be somebody's file: beside `poetry` lies `poetry.lock`
            fcntl.flock(lock, fcntl.LOCK_EX)
            return Environment(path).make(**{key: value for key, value in job.items() if key != "path"})
    except (OSError, shutil.Error) as error:
        print(error, flush=True)
        return REFUSED


def end_with_stdin() -> NoReturn:
    """Nobody wants the environment any more."""
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


class Environment:
    def __init__(self, path: str) -> None:
        self.path = path
        self.python = os.path.join(path, "bin", "python")

    def make(self, stamp: str, force: bool, uv: Optional[str], install: list[str]) -> int:
        state, owner = self.note()
        exists = os.path.isfile(os.path.join(self.path, "pyvenv.cfg"))
        if state == f"ready {stamp}" and not force and os.path.isfile(self.python):
            return 0
        if owner is None:
            if not exists and self.entries():
                print(f"{self.path} is not empty, and no virtual environment", flush=True)
                return REFUSED
            owner = "theirs" if exists else "ours"
        anew = force or (owner == "ours" and (state == "building" or not self.fits()))
        if anew:
            owner, exists = "ours", False
        os.makedirs(self.path, exist_ok=True)
        self.write_note(f"building {owner}")  # first: whatever breaks off what follows, it is known that the rest is to be removed
        if anew:
            self.clear()
        status = self.fill(exists, uv, install)
        if status == 0:
            self.write_note(f"ready {stamp} {owner}")
        return status

    def fill(self, exists: bool, uv: Optional[str], install: list[str]) -> int:
        status = 0
        if not exists:
            status = run([sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), self.path])
        elif not uv and install and subprocess.run([self.python, "-I", "-c", "import pip"], stderr=subprocess.DEVNULL).returncode != 0:
            status = run([self.python, "-I", "-m", "ensurepip"])
        if status != 0 or not install:
            return status
        if uv:
            return run([uv, "pip", "install", "--python", self.python, *install])
        return run([self.python, "-I", "-m", "pip", "install", *install])

    def entries(self) -> list[os.DirEntry[str]]:
        """What is there but for our notes."""
        try:
            return [entry for entry in os.scandir(self.path) if entry.name not in (NOTE, NOTE + ".new")]
        except FileNotFoundError:
            return []

    def clear(self) -> None:
        for entry in self.entries():
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.remove(entry.path)

    def fits(self) -> bool:
        """Made for this version of Python, and that is still there."""
        try:
            with open(os.path.join(self.path, "pyvenv.cfg"), encoding="utf-8") as config:
                version = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", config.read(), re.MULTILINE)
        except OSError:
            return False
        return version is not None and version[1] == "%d.%d" % sys.version_info[:2] and os.path.isfile(self.python)

    def note(self) -> tuple[str, Optional[str]]:
        """The state, and the owner; None when there is no note."""
        try:
            with open(os.path.join(self.path, NOTE), encoding="utf-8") as note:
                state, _, owner = note.read().strip().rpartition(" ")
        except OSError:
            return "", None
        return state, owner if owner == "ours" else "theirs"

    def write_note(self, text: str) -> None:
        """Whole or not at all, also when the machine stops."""
        new = os.path.join(self.path, NOTE + ".new")
        with open(new, "w", encoding="utf-8") as note:
            note.write(text + "\n")
            note.flush()
            os.fsync(note.fileno())
        os.replace(new, os.path.join(self.path, NOTE))


def run(command: list[str]) -> int:
    status = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
