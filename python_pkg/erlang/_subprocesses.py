"""Child processes of the event loop: ``loop.subprocess_exec``, ``asyncio.create_subprocess_shell`` and their like.

asyncio's own transport and pipes, with another way to start a child and to see its end. It is started without copying the worker
(worker/aio/spawn.hpp), and its end is seen through a descriptor that the loop watches (a pidfd). So there is no SIGCHLD handler and no child
watcher, it works in every thread, and nobody else's child is reaped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from asyncio import base_subprocess
from asyncio.log import logger
from asyncio.subprocess import SubprocessStreamProtocol
from typing import TYPE_CHECKING, Any, Optional

from . import _erlang_loop
from ._stream_readers import asyncios_own

__all__ = ["ChildProcess", "Subprocesses"]

if TYPE_CHECKING:
    _Popen = subprocess.Popen[bytes]
else:
    _Popen = subprocess.Popen

_EXECUTE_CHILD: Any = _Popen._execute_child  # type: ignore[attr-defined]
_NAMES: tuple[str, ...] = _EXECUTE_CHILD.__code__.co_varnames[1 : _EXECUTE_CHILD.__code__.co_argcount]
_NEEDED = {
    *("args", "executable", "preexec_fn", "close_fds", "pass_fds", "cwd", "env", "shell", "p2cread", "p2cwrite", "c2pread", "c2pwrite"),
    *("errread", "errwrite", "restore_signals", "gid", "gids", "uid", "umask", "start_new_session"),
}
# A Popen that we do not know starts its children itself.
_CAN_SPAWN = _NEEDED <= set(_NAMES) and _erlang_loop.can_spawn()
_PIPE_DATA_RECEIVED = asyncios_own("asyncio.subprocess", SubprocessStreamProtocol.pipe_data_received)
_EXIT_STATUS_UNKNOWN = 255  # what asyncio reports when somebody else has reaped a child


class ChildProcess(_Popen):
    """A ``Popen`` that starts natively, unless something is asked for that is not done so: ``preexec_fn`` runs Python in the child, and a process of
    another user or group must not share our memory, not even for a moment.

    ``pidfd`` is readable when the child has ended; -1: this kernel has none.
    """

    pidfd = -1

    def _execute_child(self, *values: Any) -> None:
        of = dict(zip(_NAMES, values))
        if not _CAN_SPAWN or of["preexec_fn"] is not None or not of["uid"] is of["gid"] is of["gids"] is None:
            super()._execute_child(*values)  # type: ignore[misc]
            try:
                self.pidfd = _erlang_loop.open_pidfd(self.pid)
            except OSError:
                pass
            return
        executable, argv = _program(of["args"], of["executable"], of["shell"])
        cwd, env = of["cwd"], of["env"]
        sys.audit("subprocess.Popen", executable, argv, cwd, env)
        std_fds = of["p2cread"], of["c2pwrite"], of["errwrite"]
        self.pid, self.pidfd = _erlang_loop.spawn(
            executable,
            _candidates(executable, env),
            argv,
            _environment(env),
            cwd,
            std_fds,
            sorted(map(int, set(of["pass_fds"]))) if of["close_fds"] else None,
            of["restore_signals"],
            of["start_new_session"],
            of.get("process_group", -1),
            of["umask"],
        )
        self._child_created = True
        pipes = (of[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"))
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def reap(self, flags: int) -> Optional[int]:
        """The return code, if there is one already or ``flags`` let us wait for it."""
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None:
                try:
                    pid, status = os.waitpid(self.pid, flags)
                except ChildProcessError:
                    self.returncode = _EXIT_STATUS_UNKNOWN
                    logger.warning("child process pid %d exit status already read: will report returncode %d", self.pid, self.returncode)
                else:
                    if pid != 0:
                        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def close_pidfd(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def __del__(self, *values: Any) -> None:
        self.close_pidfd()
        super().__del__(*values)


def _program(args: Any, executable: Any, shell: bool) -> tuple[Any, list[Any]]:
    """What is to be executed, and its argv: as in Popen."""
    if isinstance(args, (str, bytes)):
        argv: list[Any] = [args]
    elif isinstance(args, os.PathLike):
        if shell:
            raise TypeError("path-like args is not allowed when shell is true")
        argv = [args]
    else:
        argv = list(args)
    if shell:
        argv = ["/bin/sh", "-c", *argv]
        if executable:
            argv[0] = executable
    return argv[0] if executable is None else executable, argv


def _candidates(executable: Any, env: Any) -> "tuple[bytes, ...]":
    """The files that may be meant, in the order of PATH: that of the child."""
    name = os.fsencode(executable)
    if os.path.dirname(name):
        return (name,)
    return tuple(os.path.join(os.fsencode(folder), name) for folder in os.get_exec_path(env))


def _environment(env: Any) -> "Optional[list[bytes]]":
    if env is None:
        return None
    made = []
    for key, value in env.items():
        key = os.fsencode(key)
        if b"=" in key:
            raise ValueError("illegal environment variable name")
        made.append(key + b"=" + os.fsencode(value))
    return made


class _Transport(base_subprocess.BaseSubprocessTransport):
    _proc: Any
    _loop: Any
    _begun = False  # the protocol has been told of what came while the pipes were being connected

    def _start(self, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any, bufsize: int, **kwargs: Any) -> None:
        self._proc = ChildProcess(
            args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, universal_newlines=False, bufsize=bufsize, **kwargs
        )

    def watch_exit(self) -> None:
        """The loop will be told when the child has ended."""
        if self._proc.pidfd >= 0:
            self._loop._add_reader(self._proc.pidfd, self._has_ended)
        else:
            threading.Thread(target=_wait, args=(self._loop, self._proc, self), name=f"waitpid-{self._proc.pid}", daemon=True).start()

    def _has_ended(self) -> None:
        code = self._proc.reap(os.WNOHANG)
        if code is None:
            return
        self._loop._remove_reader(self._proc.pidfd)
        self._proc.close_pidfd()
        self._loop.call_soon(self._process_exited, code)

    def begin(self) -> None:
        """From now on data goes to the protocol when it comes, without a turn of the loop in between. It overtakes nothing: a turn runs what was
        queued before it, and then tells of what has come."""
        self._begun = True

    def _pipe_data_received(self, fd: int, data: bytes) -> None:
        if self._begun:
            self._protocol.pipe_data_received(fd, data)
        else:
            self._call(self._protocol.pipe_data_received, fd, data)

    def reader_behind(self, fd: int) -> Any:
        """The StreamReader that the protocol hands the data of this pipe to at once; None if there is none."""
        protocol = self._protocol
        received = getattr(protocol.pipe_data_received, "__func__", protocol)
        if received is not _PIPE_DATA_RECEIVED or type(protocol) is not SubprocessStreamProtocol or not self._begun:
            return None
        return protocol.stdout if fd == 1 else protocol.stderr

    def send_signal(self, signal: int) -> None:
        """Never hits another process: Popen knows whether the number is still that of the child."""
        self._check_proc()
        self._proc.send_signal(signal)

    def terminate(self) -> None:
        self._check_proc()
        self._proc.terminate()

    def kill(self) -> None:
        self._check_proc()
        self._proc.kill()


def _wait(loop: Any, child: ChildProcess, transport: Any) -> None:
    """For kernels without pidfd, on a thread of its own."""
    code = child.reap(0)
    try:
        loop.call_soon_threadsafe(transport._process_exited, code)
    except RuntimeError:
        logger.warning("Loop %r that handles pid %r is closed", loop, child.pid)


class Subprocesses:
    """The part of an event loop that asyncio's ``subprocess_exec`` and ``subprocess_shell`` stand on."""

    async def _make_subprocess_transport(
        self: Any, protocol: Any, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any, bufsize: int, extra: Any = None, **kwargs: Any
    ) -> Any:
        waiter = self.create_future()
        transport: Any = _Transport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **kwargs
        )
        try:
            transport.watch_exit()
        except BaseException:
            transport.close()  # ends the child; its Popen reaps it
            raise
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        transport.begin()
        return transport
