"""asyncio.create_subprocess_exec and _shell, and the loop's subprocess_exec and _shell with protocols of one's own."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from loop_bill import children
from loop_support import BOUND, HandlerCalls, soon, turns


async def execute(*command, **options):
    return await soon(asyncio.create_subprocess_exec(*command, **options))


async def output_of(*command, given=None, **options):
    process = await execute(*command, stdout=PIPE, **options)
    out, _ = await soon(process.communicate(given))
    return out, process.returncode


def test_a_program_runs_and_its_end_is_known(run):
    async def main():
        process = await execute("true")
        assert process.pid > 0
        assert await soon(process.wait()) == 0 and process.returncode == 0
        assert await soon(process.wait()) == 0  # again
        process = await execute("false")
        assert await soon(process.wait()) == 1

    run(main())


@pytest.mark.parametrize("status", [0, 1, 3, 127, 255])
def test_the_exit_status_is_the_returncode(run, status):
    async def main():
        process = await asyncio.create_subprocess_shell(f"exit {status}")
        assert process.returncode is None
        assert await soon(process.wait()) == status

    run(main())


def test_arguments_arrive_as_they_are(run):
    arguments = ["a b", "", "*", "$HOME", "'", '"', "\\", "ä", "-n"]

    async def main():
        code = "import sys; sys.stdout.buffer.write('|'.join(sys.argv[1:]).encode('utf-8', 'surrogateescape'))"
        out, status = await output_of(sys.executable, "-I", "-X", "utf8", "-c", code, *arguments)
        assert out.decode() == "|".join(arguments) and status == 0
        assert await output_of(b"echo", b"bytes") == (b"bytes\n", 0)
        import pathlib

        assert (await output_of(pathlib.Path("/bin/echo"), "path"))[0] == b"path\n"

    run(main())


def test_a_shell_line(run):
    async def main():
        process = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 7", stdout=PIPE, stderr=PIPE)
        assert await soon(process.communicate()) == (b"out\n", b"err\n")
        assert process.returncode == 7

    run(main())


def test_communicate_feeds_and_collects(run):
    async def main():
        assert await output_of("cat", stdin=PIPE, given=b"through") == (b"through", 0)
        assert await output_of("cat", stdin=PIPE, given=b"") == (b"", 0)

    run(main())


def test_a_megabyte_through_cat(run):
    data = os.urandom(1 << 20)

    async def main():
        out, status = await output_of("cat", stdin=PIPE, given=data)
        assert out == data and status == 0

    run(main())


def test_a_conversation_line_by_line(run):
    async def main():
        process = await execute("cat", stdin=PIPE, stdout=PIPE)
        for i in range(50):
            process.stdin.write(b"line %d\n" % i)
            await process.stdin.drain()
            assert await soon(process.stdout.readline()) == b"line %d\n" % i
        process.stdin.close()
        assert await soon(process.stdout.read()) == b""
        assert await soon(process.wait()) == 0

    run(main())


def test_stderr_apart_together_and_nowhere(run):
    line = ["sh", "-c", "echo err >&2"]

    async def main():
        process = await execute(*line, stdout=PIPE, stderr=PIPE)
        assert await soon(process.communicate()) == (b"", b"err\n")
        assert await output_of(*line, stderr=STDOUT) == (b"err\n", 0)
        assert await output_of(*line, stderr=DEVNULL) == (b"", 0)

    run(main())


def test_stdin_and_stdout_nowhere(run):
    async def main():
        assert await output_of("cat", stdin=DEVNULL) == (b"", 0)
        process = await execute("echo", "x", stdout=DEVNULL)
        assert process.stdout is None and process.stdin is None and process.stderr is None
        assert await soon(process.wait()) == 0

    run(main())


def test_descriptors_and_files_as_streams(run, tmp_path):
    async def main():
        (tmp_path / "in").write_bytes(b"from a file")
        with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
            process = await execute("cat", stdin=source, stdout=target.fileno())
            assert await soon(process.wait()) == 0
        assert (tmp_path / "out").read_bytes() == b"from a file"

    run(main())


def test_without_redirection_the_streams_are_inherited(run, tmp_path):
    async def main():
        saved = os.dup(1)
        with open(tmp_path / "out", "wb") as target:
            os.dup2(target.fileno(), 1)
            try:
                process = await execute("echo", "inherited")
                await soon(process.wait())
            finally:
                os.dup2(saved, 1)
                os.close(saved)
        assert (tmp_path / "out").read_bytes() == b"inherited\n"

    run(main())


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_stream_that_is_no_descriptor_is_an_error(run, stream):
    """Not the worker's own: STDOUT is for stderr, and a number like others elsewhere."""

    async def main():
        with pytest.raises((OSError, ValueError)):
            await asyncio.create_subprocess_exec("true", **{stream: asyncio.subprocess.STDOUT})

    run(main())


@pytest.mark.parametrize("how, number", [("kill", signal.SIGKILL), ("terminate", signal.SIGTERM), ("send_signal", signal.SIGINT)])
def test_a_signal_is_a_negative_returncode(run, how, number):
    async def main():
        process = await execute("sh", "-c", "echo ready; exec sleep 1000", stdout=PIPE)
        assert await soon(process.stdout.readline()) == b"ready\n"
        getattr(process, how)(*([number] if how == "send_signal" else []))
        assert await soon(process.wait()) == -number

    run(main())


@pytest.mark.parametrize("how", ["kill", "terminate", "send_signal"])
def test_signals_to_a_process_that_has_ended(run, how):
    async def main():
        process = await execute("true")
        await soon(process.wait())
        with pytest.raises(ProcessLookupError):
            getattr(process, how)(*([signal.SIGTERM] if how == "send_signal" else []))

    run(main())


def test_the_childs_signals_are_as_at_the_start_of_a_program(run):
    """Neither blocked nor ignored for the child because the parent's loop does something with them."""

    async def main():
        out, _ = await output_of("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
        masks = {line.split(b":")[0]: int(line.split()[1], 16) for line in out.splitlines()}
        assert masks[b"SigBlk"] == 0
        expected = sum(1 << (n - 1) for n in range(1, 65) if n not in (32, 33) and signal.getsignal(n) is signal.SIG_IGN
                       and n not in (signal.SIGPIPE, signal.SIGXFSZ))
        # The two that the C library keeps for itself are as whoever started this process left them (ignored, below some versions of make).
        expected |= 1 << 31 | 1 << 32
        assert masks[b"SigIgn"] & ~expected == 0, masks

    run(main())


def test_environment_and_folder(run, tmp_path):
    async def main():
        out, _ = await output_of("/bin/sh", "-c", "echo $NAME; pwd", env={"NAME": "value"}, cwd=tmp_path)
        assert out.decode().splitlines() == ["value", os.path.realpath(tmp_path)]
        assert (await output_of("/usr/bin/env", env={}))[0] == b""
        os.environ["OF_THE_PARENT"] = "inherited"
        try:
            assert (await output_of("sh", "-c", "echo $OF_THE_PARENT"))[0] == b"inherited\n"
        finally:
            del os.environ["OF_THE_PARENT"]

    run(main())


def test_a_program_that_is_not_there(run):
    async def main():
        for _ in range(5):
            with pytest.raises(FileNotFoundError) as caught:
                await execute("/no/such/program", stdin=PIPE, stdout=PIPE, stderr=PIPE)
            assert "/no/such/program" in str(caught.value)
        with pytest.raises(FileNotFoundError):
            await execute("no-such-program-on-the-path")

    run(main())


def test_a_program_that_may_not_be_run(run, tmp_path):
    async def main():
        (tmp_path / "data").write_text("not a program")
        with pytest.raises(PermissionError):
            await execute(str(tmp_path / "data"))
        with pytest.raises(PermissionError):
            await execute(str(tmp_path))

    run(main())


def test_a_folder_that_is_not_there(run):
    async def main():
        with pytest.raises(FileNotFoundError):
            await execute("true", cwd="/no/such/folder")

    run(main())


def test_something_that_is_no_program(run, tmp_path):
    async def main():
        (tmp_path / "data").write_bytes(b"\x7fELF rubbish")
        (tmp_path / "data").chmod(0o755)
        with pytest.raises(OSError):
            await execute(str(tmp_path / "data"))

    run(main())


def test_start_new_session_and_preexec_fn(run, tmp_path):
    async def main():
        out, _ = await output_of(sys.executable, "-I", "-c", "import os; print(os.getsid(0) == os.getpid())", start_new_session=True)
        assert out == b"True\n"
        out, _ = await output_of("sh", "-c", "umask", preexec_fn=lambda: os.umask(0o077))
        assert out == b"0077\n"

    run(main())


def test_a_preexec_fn_that_fails(run):
    def fails():
        raise ZeroDivisionError

    async def main():
        with pytest.raises(subprocess.SubprocessError):
            await execute("true", preexec_fn=fails)

    run(main())


def test_descriptors_are_closed_for_the_child_unless_passed(run):
    async def main():
        r, w = os.pipe()
        os.set_inheritable(w, True)
        count = "ls /proc/self/fd | wc -l"  # 0, 1, 2 and the one of ls
        assert int((await output_of("sh", "-c", count, stdin=DEVNULL, stderr=DEVNULL))[0]) == 4
        process = await execute("sh", "-c", f"echo passed >/proc/self/fd/{w}", pass_fds=[w])
        assert await soon(process.wait()) == 0
        os.close(w)
        assert os.read(r, 100) == b"passed\n"
        os.close(r)

    run(main())


def test_close_fds_false_leaves_the_inheritable_ones(run):
    async def main():
        r, w = os.pipe()
        os.set_inheritable(w, True)
        process = await execute("sh", "-c", f"echo inherited >/proc/self/fd/{w}", close_fds=False)
        assert await soon(process.wait()) == 0
        os.close(w)
        assert os.read(r, 100) == b"inherited\n"
        os.close(r)

    run(main())


@pytest.mark.parametrize("options", [{"universal_newlines": True}, {"text": True}, {"encoding": "utf-8"}, {"errors": "strict"},
                                     {"bufsize": 1}, {"shell": True}], ids=repr)
def test_options_of_popen_that_asyncio_has_not(run, options):
    async def main():
        with pytest.raises(ValueError):
            await execute("true", **options)

    run(main())


def test_a_program_must_be_named_by_text(loop, run):
    async def main():
        for wrong in (5, None, ["true"]):
            with pytest.raises(TypeError):
                await loop.subprocess_exec(asyncio.SubprocessProtocol, wrong)
        with pytest.raises(ValueError):
            await loop.subprocess_shell(asyncio.SubprocessProtocol, ["true"])

    run(main())


def test_the_limit_of_the_streams(run):
    async def main():
        process = await execute("sh", "-c", "printf %0200d 0", stdout=PIPE, limit=100)
        with pytest.raises(asyncio.LimitOverrunError):
            await soon(process.stdout.readuntil(b"\n"))
        assert len(await soon(process.stdout.read())) == 200
        await soon(process.wait())

    run(main())


def test_a_child_that_reads_nothing_and_ends(run, bill):
    """What was meant for it cannot be delivered; communicate does not mind."""
    if sys.version_info < (3, 12):
        bill.allow_log("never retrieved(.|\n)*BrokenPipeError")  # asyncio.subprocess forgets the one of drain()

    async def main():
        process = await execute("true", stdin=PIPE)
        await soon(process.communicate(b"x" * 1_000_000))
        assert process.returncode == 0

    run(main())


def test_stdin_can_be_closed_by_the_child(run):
    async def main():
        process = await execute("sh", "-c", "exec <&-; echo closed; read x < /dev/null; exit 5", stdin=PIPE, stdout=PIPE)
        assert await soon(process.stdout.readline()) == b"closed\n"
        assert await soon(process.wait()) == 5

    run(main())


def test_wait_ends_even_when_a_grandchild_keeps_the_pipe(run):
    """The program has ended; somebody else holds its stdout."""

    async def main():
        r, w = os.pipe()
        # The grandchild lives until the pipe it reads from ends.
        process = await execute("sh", "-c", f"cat </proc/self/fd/{r} & exit 0", stdin=DEVNULL, stdout=PIPE, pass_fds=[r])
        os.close(r)
        if sys.version_info >= (3, 11):
            while process.returncode is None:
                await asyncio.sleep(0.001)  # sleep-ok: returncode is set without an announcement
        os.close(w)
        assert await soon(process.wait()) == 0
        assert await soon(process.stdout.read()) == b""

    run(main())


def test_a_hundred_at_once(run):
    async def main():
        answers = await asyncio.gather(*(output_of("sh", "-c", f"echo {i}; exit {i}") for i in range(100)))
        assert answers == [(b"%d\n" % i, i) for i in range(100)]

    run(main(), bound=50)


def test_from_the_loops_of_several_threads_at_once(make_loop):
    loops, answers = [make_loop() for _ in range(4)], {}

    async def some(n):
        return await asyncio.gather(*(output_of("sh", "-c", f"exit {n + i}") for i in range(5)))

    def in_thread(n):
        answers[n] = loops[n].run_until_complete(some(n))

    threads = [threading.Thread(target=in_thread, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert answers == {n: [(b"", n + i) for i in range(5)] for n in range(4)}


def test_waiting_can_be_cancelled_and_begun_again(run):
    async def main():
        process = await execute("cat", stdin=PIPE)
        waiting = asyncio.ensure_future(process.wait())
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        several = [asyncio.ensure_future(process.wait()) for _ in range(3)]
        await turns()
        process.stdin.close()
        assert await soon(asyncio.gather(*several)) == [0, 0, 0]

    run(main())


def test_communicate_can_be_cancelled(run):
    async def main():
        process = await execute("cat", stdin=PIPE, stdout=PIPE)
        process.stdin.write(b"x")
        reading = asyncio.ensure_future(process.stdout.read())
        await turns()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        process.kill()
        await soon(process.wait())

    run(main())


def test_no_zombie_is_left(run):
    """Once wait has returned, the kernel has forgotten the child. The bill checks it, too."""

    async def main():
        before = set(children())
        processes = [await execute("true") for _ in range(20)]
        for process in processes:
            await soon(process.wait())
        assert set(children()) - before == set()

    run(main())


def test_other_children_are_left_alone(run):
    """The loop reaps its own children only: subprocess and os.waitpid keep working beside it."""

    async def main():
        own = subprocess.Popen(["sh", "-c", "exit 9"])
        process = await execute("true")
        await soon(process.wait())
        forked = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "exit 8")
        process = await execute("true")
        await soon(process.wait())
        assert await asyncio.to_thread(own.wait) == 9
        assert os.waitpid(forked, 0)[1] == 8 << 8

    run(main())


@pytest.mark.stock_fails("keeps the child's descriptor", since=(3, 12))
def test_a_loop_may_be_closed_while_a_child_lives(make_loop, bill):
    loop = make_loop()

    async def main():
        return await execute("sleep", "1000")

    process = loop.run_until_complete(main())
    loop.close()
    os.kill(process.pid, signal.SIGKILL)
    # Its watcher may reap it still, or nobody does.
    try:
        os.waitpid(process.pid, 0)
    except ChildProcessError:
        pass
    bill.allow_warning("running")  # that of a transport which nobody closed is right
    bill.allow_log("Loop .* is closed|child process")  # what stock asyncio's threads say about it


# --------------------------------------------------------------------------------------------- protocols of one's own


class Watcher(asyncio.SubprocessProtocol):
    def __init__(self):
        self.calls, self.data, self.ended = [], {1: b"", 2: b""}, asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def pipe_data_received(self, fd, data):
        self.data[fd] += data

    def pipe_connection_lost(self, fd, exc):
        self.calls.append(f"pipe {fd} lost")

    def process_exited(self):
        self.calls.append("exited")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.ended.set_result(exc)


def test_the_protocol_is_told_everything_in_order(loop, run):
    async def main():
        transport, watcher = await loop.subprocess_exec(Watcher, "sh", "-c", "cat; echo err >&2; exit 3")
        assert isinstance(transport, asyncio.SubprocessTransport) and watcher.transport is transport
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport) and isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        assert transport.get_pid() > 0 and transport.get_returncode() is None
        assert transport.get_pipe_transport(5) is None
        stdin.write(b"data")
        stdin.write_eof()
        assert await soon(watcher.ended) is None
        assert watcher.data == {1: b"data", 2: b"err\n"} and transport.get_returncode() == 3
        assert watcher.calls[0] == "made" and watcher.calls[-1] == "lost"
        assert sorted(watcher.calls[1:-1]) == ["exited", "pipe 0 lost", "pipe 1 lost", "pipe 2 lost"]
        transport.close()

    run(main())


def test_the_shell_with_a_protocol(loop, run):
    async def main():
        transport, watcher = await loop.subprocess_shell(Watcher, "echo out | tr o 0", stdin=None, stderr=None)
        assert transport.get_pipe_transport(0) is None
        await soon(watcher.ended)
        assert watcher.data[1] == b"0ut\n"
        transport.close()

    run(main())


def test_closing_the_transport_kills_the_child(loop, run):
    async def main():
        transport, watcher = await loop.subprocess_exec(Watcher, "sleep", "1000")
        assert not transport.is_closing()
        transport.close()
        transport.close()
        assert transport.is_closing()
        await soon(watcher.ended)
        while transport.get_returncode() is None:
            await turns(1)
        assert transport.get_returncode() == -signal.SIGKILL

    run(main())


def test_signals_through_the_transport(loop, run):
    async def main():
        transport, watcher = await loop.subprocess_exec(Watcher, "sleep", "1000")
        transport.send_signal(signal.SIGHUP)
        await soon(watcher.ended)
        assert transport.get_returncode() == -signal.SIGHUP
        for late in (transport.kill, transport.terminate, lambda: transport.send_signal(signal.SIGHUP)):
            with pytest.raises(ProcessLookupError):
                late()
        transport.close()

    run(main())


def test_the_transport_gives_the_popen(loop, run):
    async def main():
        transport, watcher = await loop.subprocess_exec(Watcher, "true")
        popen = transport.get_extra_info("subprocess")
        if popen is not None:  # a loop that starts programs without Popen has none to give
            assert popen.pid == transport.get_pid()
        await soon(watcher.ended)
        transport.close()

    run(main())


def test_a_protocol_method_that_fails_goes_to_the_handler(loop, run):
    calls = HandlerCalls(loop)

    class Fails(Watcher):
        def process_exited(self):
            super().process_exited()
            raise ZeroDivisionError

    async def main():
        transport, watcher = await loop.subprocess_exec(Fails, "true")
        await soon(watcher.ended)
        transport.close()

    run(main())
    assert [type(context["exception"]) for context in calls] == [ZeroDivisionError]
