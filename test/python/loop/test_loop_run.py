"""The ways to our loop: erlang.run, asyncio.Runner, policies, loops by hand, and the older module name."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import warnings

import pytest
from loop_support import IS_OURS, soon

if not IS_OURS:
    pytest.skip("stock asyncio has nothing of this", allow_module_level=True)

import erlang
import erlang_loop


async def current():
    return asyncio.get_running_loop()


def in_fresh_worker(code, *options):
    """Runs code in a worker of its own, as `py_worker --python -c`; what it printed."""
    with open("/proc/self/exe", "rb"):
        worker = os.readlink("/proc/self/exe")
    ran = subprocess.run([worker, "--python", *options, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


# --------------------------------------------------------------------------------------------------------- erlang.run


def test_run_gives_the_result_of_a_coroutine_on_a_loop_of_ours_which_is_then_closed():
    loop = erlang.run(current())
    assert type(loop) is erlang.ErlangEventLoop and loop.is_closed()


def test_run_raises_what_the_coroutine_raised():
    async def fails():
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        erlang.run(fails())


def test_run_takes_coroutines_only():
    for no_coroutine in (42, current, asyncio.sleep):
        with pytest.raises((TypeError, ValueError), match="a coroutine"):
            erlang.run(no_coroutine)


def test_a_run_inside_a_coroutine_is_the_error_that_asyncio_gives():
    async def main():
        errors = []
        for run in (asyncio.run, erlang.run):
            nested = current()
            with pytest.raises(RuntimeError) as error:
                run(nested)
            nested.close()
            errors.append(str(error.value))
        return errors

    of_asyncio, ours = erlang.run(main())
    assert of_asyncio == ours


def test_run_cancels_what_is_left_and_waits_for_it():
    ended = []

    async def stays(name):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async def main():
        tasks = [asyncio.ensure_future(stays(name)) for name in "ab"]
        await asyncio.sleep(0)
        return tasks

    tasks = erlang.run(main())
    assert sorted(ended) == ["a", "b"] and all(task.cancelled() for task in tasks)


def test_a_task_that_fails_while_it_is_cancelled_is_told_to_the_exception_handler():
    told = []

    async def stays():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise KeyError("at the end")

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        task = asyncio.ensure_future(stays())
        await asyncio.sleep(0)
        return task

    task = erlang.run(main())
    (context,) = told
    assert context["task"] is task and isinstance(context["exception"], KeyError) and "shutdown" in context["message"]


def test_run_ends_asynchronous_generators_and_the_executor():
    ended, threads = [], []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append("generator")

    async def main():
        await asyncio.get_running_loop().run_in_executor(None, lambda: threads.append(threading.current_thread()))
        generator = numbers()
        await generator.__anext__()
        return generator  # kept, so that nobody else ends it

    generator = erlang.run(main())
    assert ended == ["generator"] and not threads[0].is_alive()
    del generator


def test_run_turns_debug_mode_on_and_off():
    async def debugs():
        return asyncio.get_running_loop().get_debug()

    assert erlang.run(debugs(), debug=True) is True
    assert erlang.run(debugs(), debug=False) is False
    assert "True\n" == in_fresh_worker("import erlang, asyncio\nasync def f(): return asyncio.get_running_loop().get_debug()\nprint(erlang.run(f()))", "-X", "dev")


def test_a_run_that_fails_closes_its_loop_all_the_same():
    seen = []

    async def main():
        seen.append(asyncio.get_running_loop())
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        erlang.run(main())
    assert seen[0].is_closed()


def test_ctrl_c_ends_a_run_and_its_finally_blocks_run():
    ended = []

    async def main():
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            erlang.run(main())
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [True]


def test_run_works_in_threads_at_the_same_time():
    meet, loops = threading.Barrier(3), []

    async def main():
        await asyncio.get_running_loop().run_in_executor(None, meet.wait, 20)
        await asyncio.sleep(0.001)  # sleep-ok: a timer of each loop
        loops.append(asyncio.get_running_loop())

    threads = [threading.Thread(target=lambda: erlang.run(main())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(loops)) == 3 and all(type(loop) is erlang.ErlangEventLoop for loop in loops)


def test_run_leaves_the_current_loop_of_the_thread_alone(loop):
    asyncio.set_event_loop(loop)
    erlang.run(current())
    assert asyncio.get_event_loop_policy().get_event_loop() is loop


def test_spawn_task_and_sleep_work_on_any_loop():
    async def main():
        seen = []

        async def later():
            await erlang.sleep(0.001)
            seen.append(asyncio.get_running_loop())

        await erlang.spawn_task(later())
        return seen == [asyncio.get_running_loop()]

    for run in (erlang.run, asyncio.run):
        assert run(main())


# ------------------------------------------------------------------------------------------------------ other ways to it


@pytest.mark.needs_python(3, 11)
def test_a_runner_takes_the_factory():
    with asyncio.Runner(loop_factory=erlang.new_event_loop) as runner:
        loop = runner.get_loop()
        assert runner.run(current()) is loop is runner.run(current())
        assert type(loop) is erlang.ErlangEventLoop
    assert loop.is_closed()


def test_a_loop_by_hand(loop):
    asyncio.set_event_loop(loop)
    assert loop.run_until_complete(current()) is loop is asyncio.get_event_loop_policy().get_event_loop()
    seen = []
    loop.call_soon(seen.append, "soon")
    loop.call_later(0.001, lambda: (seen.append("later"), loop.stop()))
    loop.run_forever()
    assert seen == ["soon", "later"]


def test_two_threads_turn_their_loops_by_hand():
    results = {}

    def turn(name):
        loop, seen = erlang.ErlangEventLoop(), []
        loop.call_soon(seen.append, name)
        loop.call_later(0.001, seen.append, name)
        while len(seen) < 2:
            loop._run_once()
        loop.close()
        results[name] = seen

    threads = [threading.Thread(target=turn, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"a": ["a", "a"], "b": ["b", "b"]}


def test_a_second_loop_may_exist_beside_one_that_runs(make_loop, run):
    async def main():
        other = make_loop()
        return await soon(asyncio.get_running_loop().run_in_executor(None, other.run_until_complete, current())) is other

    assert run(main())


# ------------------------------------------------------------------------------------------------------------- policies


@contextlib.contextmanager
def own_policy():
    """The policy and the current loop of this thread are afterwards what they were."""
    before = asyncio.get_event_loop_policy()
    try:
        yield before
    finally:
        asyncio.set_event_loop_policy(before)


def test_a_policy_makes_loops_of_ours():
    with own_policy():
        asyncio.set_event_loop_policy(erlang.get_event_loop_policy())
        assert type(asyncio.run(current())) is erlang.ErlangEventLoop
        made = asyncio.new_event_loop()
        assert type(made) is erlang.ErlangEventLoop
        made.close()
        loops = []
        thread = threading.Thread(target=lambda: loops.append(asyncio.run(current())))
        thread.start()
        thread.join()
        assert type(loops[0]) is erlang.ErlangEventLoop


def test_the_policy_has_two_names():
    assert erlang.EventLoopPolicy is erlang.ErlangEventLoopPolicy is type(erlang.get_event_loop_policy())
    assert issubclass(erlang.EventLoopPolicy, asyncio.AbstractEventLoopPolicy)


def test_install_sets_the_policy_and_keeps_the_current_loop(loop):
    with own_policy():
        asyncio.set_event_loop(loop)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            erlang.install()
        assert type(asyncio.get_event_loop_policy()) is erlang.EventLoopPolicy
        assert asyncio.get_event_loop_policy().get_event_loop() is loop
        assert type(asyncio.run(current())) is erlang.ErlangEventLoop
    deprecated = [one for one in warned if one.category is DeprecationWarning]
    if sys.version_info >= (3, 12):
        (one,) = deprecated
        assert "erlang.run" in str(one.message) and one.filename == __file__
    else:
        assert deprecated == []


def test_install_may_be_silent():
    with own_policy(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        erlang.install(silent=True)
    assert type(asyncio.get_event_loop_policy()) is not erlang.EventLoopPolicy
    assert [one for one in warned if "erlang.install" in str(one.message)] == []


def test_install_makes_no_loop():
    code = "import asyncio, erlang, gc\nerlang.install()\ngc.collect()\nprint([o for o in gc.get_objects() if isinstance(o, asyncio.AbstractEventLoop)])"
    assert in_fresh_worker(code, "-W", "ignore").strip() == "[]"


def test_a_program_with_the_policy_starts_child_processes_in_every_thread():
    async def child():
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
        return await process.wait()

    with own_policy():
        asyncio.set_event_loop_policy(erlang.EventLoopPolicy())
        codes = [asyncio.run(child())]
        thread = threading.Thread(target=lambda: codes.append(asyncio.run(child())))
        thread.start()
        thread.join()
    assert codes == [7, 7]


# ---------------------------------------------------------------------------------------------------------- the package


def test_the_older_module_has_the_same_things():
    for name in erlang_loop.__all__:
        assert getattr(erlang_loop, name) is getattr(erlang, name), name
    assert {"ErlangEventLoop", "ErlangEventLoopPolicy", "get_event_loop_policy"} <= set(erlang_loop.__all__)


def test_the_mode_is_that_of_the_interpreter():
    free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    assert erlang.detect_mode() is (erlang.ExecutionMode.FREE_THREADED if free else erlang.ExecutionMode.SHARED_GIL)
    assert {mode.name for mode in erlang.ExecutionMode} == {"FREE_THREADED", "SUBINTERP", "SHARED_GIL"}


def test_importing_the_package_imports_no_asyncio():
    assert in_fresh_worker("import sys, erlang\nprint('asyncio' in sys.modules)\nerlang.run\nprint('asyncio' in sys.modules)").split() == ["False", "True"]


def test_everything_in_all_is_there():
    for name in erlang.__all__:
        assert getattr(erlang, name) is not None
        assert name in dir(erlang)


def test_outside_a_worker_using_it_is_one_sentence_of_help():
    package = os.path.dirname(os.path.dirname(erlang.__file__))
    for use in ("import erlang; erlang.call('f')", "import erlang; erlang.new_event_loop()", "import erlang_loop; erlang_loop.ErlangEventLoop()"):
        code = f"import sys; sys.path.insert(0, {package!r})\ntry:\n    {use}\nexcept (ImportError, RuntimeError) as e:\n    print(e)"
        ran = subprocess.run([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        assert "py_worker --python" in ran.stdout and ran.stdout.count("\n") == 1, ran.stdout


def test_without_a_node_a_call_to_erlang_says_so_on_every_loop():
    async def main():
        with pytest.raises(RuntimeError, match="there is no Erlang to call"):
            await erlang.async_call("anything")

    erlang.run(main())
    asyncio.run(main())
    with pytest.raises(RuntimeError, match="there is no Erlang to call"):
        erlang.call("anything")
