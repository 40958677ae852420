"""How the loop starts children: what a child inherits, what becomes of failures, and the ways beside the fast one."""

import asyncio
import asyncio.subprocess
import os
import signal
import subprocess
import sys
import threading
import types

import pytest
from loop_support import soon

pytestmark = pytest.mark.ours_only("how children are started is ours")
PIPE = asyncio.subprocess.PIPE


@pytest.fixture
def ours():
    """The module under test; not needed where these tests are skipped."""
    from erlang import _subprocesses

    return _subprocesses


async def output(*args, **options):
    process = await asyncio.create_subprocess_exec(*args, stdout=PIPE, **options)
    out, _ = await soon(process.communicate())
    return process.returncode, out


def status_of(out):
    """Lines of /proc/self/status by name."""
    return dict(line.split(":\t", 1) for line in out.decode().splitlines() if ":\t" in line)


def signals_in(mask):
    return {number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1}


# ------------------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize("content, mode, error", [(None, 0, FileNotFoundError), (b"#!/bin/sh\n", 0o600, PermissionError),
                                                  (b"\x7fELFgarbage", 0o700, OSError), (b"#!/no/such/interpreter\n", 0o700, FileNotFoundError)])
def test_a_program_that_cannot_be_executed(run, tmp_path, content, mode, error):
    program = tmp_path / "program"
    if content is not None:
        program.write_bytes(content)
        program.chmod(mode)

    async def main():
        for _ in range(3):
            with pytest.raises(error) as raised:
                await asyncio.create_subprocess_exec(program, stdin=PIPE, stdout=PIPE, stderr=PIPE)
            assert raised.value.filename == program
            assert raised.value.strerror == os.strerror(raised.value.errno)

    run(main())


def test_what_is_forbidden_early_in_the_path_does_not_hide_what_comes_later(run, tmp_path):
    for folder, mode in (("first", 0o600), ("second", 0o700)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "found").write_text("#!/bin/sh\necho second\n")
        (tmp_path / folder / "found").chmod(mode)
    path = f"{tmp_path}/nothing:{tmp_path}/first:{tmp_path}/second"

    async def main():
        assert await output("found", env={"PATH": path}) == (0, b"second\n")
        with pytest.raises(PermissionError):
            await output("found", env={"PATH": f"{tmp_path}/first:{tmp_path}/nothing"})

    run(main())


def test_a_folder_that_cannot_be_entered_is_named(run, tmp_path):
    async def main():
        for cwd in (tmp_path / "nowhere", os.fsencode(tmp_path / "nowhere")):
            with pytest.raises(FileNotFoundError) as raised:
                await output("true", cwd=cwd)
            assert raised.value.filename == cwd

    run(main())


@pytest.mark.needs_python(3, 11)
def test_a_process_group_that_is_not_there(run):
    async def main():
        with pytest.raises(PermissionError) as raised:
            await output("true", process_group=1)
        assert raised.value.filename is None

    run(main())


@pytest.mark.parametrize("args, options, error", [(["true", "a\0b"], {}, ValueError), (["tr\0ue"], {}, ValueError), (["true", 1], {}, TypeError),
                                                  (["true"], {"env": {"a=b": "c"}}, ValueError), (["true"], {"cwd": "a\0b"}, ValueError),
                                                  (["true", "x" * (1 << 20)], {}, OSError), (["true"], {"pass_fds": (-1,)}, ValueError)])
def test_what_cannot_be_handed_over_leaves_nothing_behind(run, args, options, error):
    async def main():
        with pytest.raises(error):
            await output(*args, stdin=PIPE, stderr=PIPE, **options)

    run(main())


def test_without_descriptors_it_fails_and_works_again(run):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main():
        await output("true")
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        try:
            with pytest.raises(OSError):
                await output("true", stdin=PIPE, stderr=PIPE)
            os.close(taken.pop())
            process = await asyncio.create_subprocess_exec("true")  # its pidfd only
            assert await soon(process.wait()) == 0
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await output("echo", "again") == (0, b"again\n")

    run(main())


# --------------------------------------------------------------------------------------------------------- inheritance


def test_signals_in_the_child(run):
    """Handlers are gone, what is ignored stays so, but for what Python ignores; the mask is that of the thread."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:

        async def main():
            for restore in (True, False):
                _, out = await output("cat", "/proc/self/status", restore_signals=restore)
                status = status_of(out)
                assert signals_in(status["SigBlk"]) == {signal.SIGUSR2}
                assert signals_in(status["SigCgt"]) == set()
                assert signal.SIGHUP in signals_in(status["SigIgn"])
                assert ({signal.SIGPIPE, signal.SIGXFSZ} & signals_in(status["SigIgn"]) == set()) is restore

        run(main())
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= {signal.SIGUSR2}  # ours is as before
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        signal.signal(signal.SIGUSR1, before[0])
        signal.signal(signal.SIGHUP, before[1])


def test_the_childs_umask_folder_and_session_are_not_ours(run, tmp_path):
    umask = os.umask(0o022)
    os.umask(umask)
    options = {"cwd": os.fsencode(tmp_path), "start_new_session": True}
    if sys.version_info >= (3, 9):
        options["umask"] = 0o077

    async def main():
        before = os.getcwd(), os.getsid(0)
        code, out = await output("sh", "-c", "umask; pwd; cut -d' ' -f1,6 /proc/self/stat; echo $$", **options)
        words = out.decode().split()
        assert words[:2] == ["0077", str(tmp_path)]
        assert words[3] == words[4]  # its session is its own
        assert (os.getcwd(), os.getsid(0)) == before

    run(main())
    assert os.umask(umask) == umask


@pytest.mark.needs_python(3, 11)
def test_a_process_group_of_its_own(run):
    async def main():
        _, out = await output("sh", "-c", "echo $$; cut -d' ' -f5 /proc/self/stat", process_group=0)
        pid, group = out.split()
        assert pid == group

    run(main())


def test_only_the_descriptors_that_are_passed(run):
    async def main():
        ends = [os.pipe() for _ in range(4)]
        passed = {ends[0][1], ends[2][0], ends[3][1]}
        try:
            os.set_inheritable(ends[1][0], True)
            _, out = await output("ls", "/proc/self/fd", pass_fds=passed)
            seen = set(map(int, out.split()))
            assert passed <= seen and not {ends[0][0], ends[1][0], ends[1][1], ends[2][1], ends[3][0]} & seen
            assert not os.get_inheritable(ends[0][1])  # here they are as before
            _, out = await output("ls", "/proc/self/fd", close_fds=False)
            seen = set(map(int, out.split()))
            assert ends[1][0] in seen and ends[0][1] not in seen
        finally:
            for fd in sum(ends, ()):
                os.close(fd)

    run(main())


def test_streams_that_change_places(ours):
    """stdout is what was stderr and the other way round, in a process whose pipes get the numbers 0 to 2."""
    (out, out_w), (err, err_w) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.dup2(out_w, 1)
            os.dup2(err_w, 2)
            os.close(0)
            child = ours.ChildProcess(["sh", "-c", "echo to stdout; echo to stderr >&2; cat"], stdin=PIPE, stdout=2, stderr=1)
            child.stdin.write(b"from stdin\n")
            child.stdin.close()
            status = child.wait()
        finally:
            os._exit(status)
    os.close(out_w)
    os.close(err_w)
    with open(out) as a, open(err) as b:
        assert (a.read(), b.read()) == ("to stderr\n", "to stdout\nfrom stdin\n")
    assert os.waitpid(pid, 0)[1] == 0


def test_the_environment_as_it_is_now(run, monkeypatch):
    async def main():
        monkeypatch.setenv("PY_PORT_TEST", "one")
        assert await output("sh", "-c", "echo $PY_PORT_TEST") == (0, b"one\n")
        monkeypatch.setenv("PY_PORT_TEST", "two")
        assert await output("sh", "-c", "echo $PY_PORT_TEST") == (0, b"two\n")
        assert await output("/usr/bin/env", env={}) == (0, b"")

    run(main())


# ------------------------------------------------------------------------------------------------------------ other ways


def test_another_user_and_preexec_fn_go_through_popen(run, ours):
    class NotNative:
        def __getattr__(self, name):
            assert name != "spawn"
            return getattr(ours_native, name)

    ours_native, ours._erlang_loop = ours._erlang_loop, NotNative()
    try:

        async def main():
            assert await output("id", "-u", user=os.getuid()) == (0, b"%d\n" % os.getuid())
            assert await output("id", "-g", group=os.getgid()) == (0, b"%d\n" % os.getgid())
            assert await output("sh", "-c", "umask", preexec_fn=lambda: os.umask(0o011) and None) == (0, b"0011\n")

        run(main())
    finally:
        ours._erlang_loop = ours_native


@pytest.mark.parametrize("missing", ["spawn", "pidfd", "both"])
def test_on_a_kernel_that_lacks_it(run, ours, monkeypatch, missing):
    native = ours._erlang_loop

    def spawn(*args):
        pid, pidfd = native.spawn(*args)
        os.close(pidfd)
        return pid, -1

    def open_pidfd(pid):
        raise OSError("no such system call")

    if missing != "spawn":
        monkeypatch.setattr(ours, "_erlang_loop", types.SimpleNamespace(spawn=spawn, open_pidfd=open_pidfd))
    if missing != "pidfd":
        monkeypatch.setattr(ours, "_CAN_SPAWN", False)

    async def main():
        assert await output("echo", "x") == (0, b"x\n")
        process = await asyncio.create_subprocess_exec("sleep", "100")
        process.kill()
        assert await soon(process.wait()) == -signal.SIGKILL
        with pytest.raises(FileNotFoundError):
            await output("no-such-program")

    run(main())


# ------------------------------------------------------------------------------------------------------------------ ends


def test_somebody_else_reaps_the_child(run, bill):
    bill.expect_log("exit status already read")

    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "100")
        process.kill()
        os.waitpid(process.pid, 0)
        assert await soon(process.wait()) == 255

    run(main())


def test_children_that_are_not_to_be_waited_for(run, bill):
    bill.expect_log("exit status already read")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:

        async def main():
            process = await asyncio.create_subprocess_exec("true")
            assert await soon(process.wait()) == 255
            with pytest.raises(FileNotFoundError):
                await output("no-such-program")

        run(main())
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_popen_that_is_waited_for_elsewhere(run):
    async def main():
        transport, _ = await asyncio.get_running_loop().subprocess_exec(
            asyncio.SubprocessProtocol, "sh", "-c", "read line; exit 7", stdin=PIPE, stdout=None, stderr=None)
        popen = transport.get_extra_info("subprocess")
        assert isinstance(popen, subprocess.Popen)
        waited = []
        thread = threading.Thread(target=lambda: waited.append(popen.wait()))
        thread.start()
        transport.get_pipe_transport(0).write(b"go\n")
        assert await soon(transport._wait()) == 7
        await asyncio.to_thread(thread.join)
        assert waited == [7]
        transport.close()

    run(main())


def test_a_signal_after_the_end_hits_nobody(run):
    """The pipe is still open, so the transport is; the number may be another process's by now."""

    async def main():
        process = await asyncio.create_subprocess_exec("sh", "-c", "exec 5<&0; (read line <&5; echo grandchild) & exit 0", stdin=reading, stdout=PIPE)
        while process._transport.get_returncode() is None:
            await asyncio.sleep(0.001)  # sleep-ok: nothing announces it while the pipe is open
        process.kill()
        process.send_signal(signal.SIGTERM)
        os.write(writing, b"go\n")
        assert (await soon(process.communicate()))[0] == b"grandchild\n"

    reading, writing = os.pipe()
    try:
        run(main())
    finally:
        os.close(reading)
        os.close(writing)


def test_being_cancelled_while_it_starts_leaves_no_child(loop, run):
    async def main():
        for turns in range(6):
            task = loop.create_task(asyncio.create_subprocess_exec("sleep", "100", stdin=PIPE, stdout=PIPE))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                process = await soon(task)
            except asyncio.CancelledError:
                continue
            process.kill()
            await soon(process.wait())
            process._transport.close()

    run(main())


def test_threads_that_start_children_and_change_the_environment(make_loop, monkeypatch):
    stop, failures = threading.Event(), []

    def change():
        while not stop.is_set():
            for n in range(100):
                os.environ[f"PY_PORT_TEST_{n}"] = "x" * n
            for n in range(100):
                del os.environ[f"PY_PORT_TEST_{n}"]

    async def main():
        for n in range(20):
            assert await output("echo", str(n)) == (0, b"%d\n" % n)

    def work(loop):
        try:
            loop.run_until_complete(main())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(make_loop(),)) for _ in range(4)]
    changing = threading.Thread(target=change, daemon=True)
    for thread in [*threads, changing]:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        stop.set()
    changing.join()
    assert failures == []
