"""Calling Erlang, against a node that is played by the test."""

import asyncio
import gc
import pickle
import threading
import time
import warnings

import pytest
from fake_node import Failed, failed

import erlang


def test_a_call_passes_its_arguments_and_gives_the_result(node):
    node.serve(add=lambda a, b: a + b)
    assert erlang.call("add", 1, 2) == 3
    assert node.log == [("call", ("add", [1, 2]))]


@pytest.mark.parametrize("kind", [erlang.Atom, str])
def test_failures_are_the_same_whatever_atoms_become(node, kind):
    def fail(job):
        job.fail((kind("failed"), kind("exit"), ("why", 1), b"the stack" if kind is str else "the stack"))

    node.on("call", fail)
    with pytest.raises(erlang.CallError) as caught:
        erlang.call("f")
    error = caught.value
    assert (error.error_class, error.reason, error.stack, error.function) == ("exit", ("why", 1), "the stack", "f")
    assert isinstance(error, RuntimeError) and isinstance(error, erlang.ErlangError)
    assert str(error) == "f: exit: ('why', 1)"


TERMS = [
    (("not_found", "f"), erlang.FunctionNotFound, "'f'"),
    (("not_found", b"f"), erlang.FunctionNotFound, "'f'"),
    (("killed", "because"), erlang.CallError, "f: killed: 'because'"),
    ("cancelled", erlang.CallError, "f: cancelled"),
    ("timeout", TimeoutError, "in time: f"),
    (("noproc", "name"), erlang.ProcessError, "'name'"),
    (("forbidden", "no way"), erlang.ForbiddenError, "no way"),
    (("bad_request", "what?"), erlang.ErlangError, "what?"),
    (("something", "new"), erlang.CallError, "something"),
    (17, erlang.CallError, "17"),
]


@pytest.mark.parametrize("term, error, message", TERMS)
@pytest.mark.parametrize("atoms", ["str", "atom"])
def test_every_error_term_has_its_exception(node, term, error, message, atoms):
    if atoms == "atom":
        term = (erlang.Atom(term[0]), *term[1:]) if isinstance(term, tuple) else erlang.Atom(term) if isinstance(term, str) else term
    node.on("call", lambda job: job.fail(term))
    with pytest.raises(error) as caught:
        erlang.call("f")
    assert type(caught.value) is error and message in str(caught.value)


def test_errors_survive_pickling():
    for error in (erlang.CallError("throw", (1, "x"), "stack", "f"), erlang.FunctionNotFound("f"), erlang.ProcessError("p"),
                  erlang.ForbiddenError("no"), erlang.ChannelClosed("closed"), erlang.StreamAborted([1])):  # fmt: skip
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


def test_a_missing_function_is_also_a_call_error():
    assert issubclass(erlang.FunctionNotFound, erlang.CallError)
    assert issubclass(erlang.ForbiddenError, PermissionError)


def test_the_name_must_be_a_str(node):
    for name in (erlang.Atom("f"), b"f", None):
        with pytest.raises(TypeError, match="is a str"):
            erlang.call(name)
        with pytest.raises(TypeError, match="is a str"):
            asyncio.run(erlang.async_call(name))
    assert node.log == []


def test_a_timeout_raises_and_ends_the_job(node):
    jobs = []
    node.on("call", jobs.append)
    with pytest.raises(TimeoutError):
        erlang.call("f", timeout=0.01)
    assert jobs[0].cancelled


# On-the-fly names


def test_registered_functions_are_attributes_of_the_package(node):
    node.serve(double=lambda n: 2 * n)
    assert erlang.double(4) == 8
    from erlang import double

    assert double(5, timeout=1) == 10
    assert isinstance(double, erlang.Function) and double == erlang.double and hash(double) == hash(erlang.double)
    assert repr(double) == "<erlang.Function double>" and pickle.loads(pickle.dumps(double)) == double
    assert "double" not in vars(erlang)


def test_unknown_names_are_attribute_errors(node):
    node.serve(known=lambda: 1)
    with pytest.raises(AttributeError, match="no Erlang function of that name"):
        erlang.unknown
    with pytest.raises(ImportError):
        from erlang import unknown  # noqa: F401


def test_names_that_tools_probe_for_are_never_asked_for(node):
    assert not hasattr(erlang, "__wrapped__") and not hasattr(erlang, "_repr_html_")
    assert node.log == []


def test_the_packages_own_names_are_never_asked_for(node, monkeypatch):
    for name in ("channel", "byte_channel", "errors", "Channel", "send"):  # as if nobody had asked for them yet
        monkeypatch.delattr(erlang, name, raising=False)
    node.serve(channel=lambda: 1, send=lambda: 2, Channel=lambda: 3)
    assert erlang.channel.__name__ == "erlang.channel" and isinstance(erlang.Channel, type)
    for name in erlang.__all__:
        assert getattr(erlang, name) is not None
    assert node.log == []
    assert set(erlang.__all__) <= set(dir(erlang))


def test_without_a_port_names_are_attribute_errors_at_once():
    assert not hasattr(erlang, "anything")


def test_without_a_port_calls_say_so():
    with pytest.raises(RuntimeError, match="no Erlang to call"):
        erlang.call("f")
    with pytest.raises(RuntimeError, match="no Erlang to call"):
        asyncio.run(erlang.async_call("f"))


def test_keyword_arguments_are_refused_by_name(node):
    node.serve(f=lambda: 1)
    with pytest.raises(TypeError, match="no keyword arguments .*colour"):
        erlang.f(1, colour=2)


# The blocking form in a coroutine


def test_a_blocking_call_in_a_coroutine_warns_once_per_place_and_works(node):
    node.serve(f=lambda: 1)

    async def work():
        for _ in range(3):
            assert erlang.call("f") == 1
        assert erlang.f() == 1
        return 7

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        assert asyncio.run(work()) == 7
    assert [w.category for w in seen] == [RuntimeWarning] * 2
    assert all("async_call" in str(w.message) and w.filename == __file__ for w in seen)
    first = work.__code__.co_firstlineno
    assert [w.lineno for w in seen] == [first + 2, first + 3]


def test_a_blocking_call_elsewhere_does_not_warn(node, recwarn):
    node.serve(f=lambda: 1)
    erlang.call("f")

    async def in_a_thread():
        await asyncio.get_running_loop().run_in_executor(None, erlang.call, "f")

    asyncio.run(in_a_thread())
    assert not recwarn.list


# Coroutines


def test_async_call(node):
    node.serve(f=lambda n: n + 1)
    assert asyncio.run(erlang.async_call("f", 1)) == 2
    node.on("call", lambda job: job.fail((erlang.Atom("failed"), erlang.Atom("error"), "r", "s")))
    with pytest.raises(erlang.CallError, match="f: error: 'r'"):
        asyncio.run(erlang.async_call("f"))


def test_thousands_of_calls_are_in_flight_at_once(node):
    jobs = []
    node.on("call", jobs.append)

    async def main():
        tasks = [asyncio.ensure_future(erlang.async_call("f", n)) for n in range(5000)]
        while len(jobs) < 5000:
            await asyncio.sleep(0)
        for job in reversed(jobs):
            job.answer(job.args[1][0] * 2)
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [2 * n for n in range(5000)]
    assert len(node.mailboxes) == 1 and not node.jobs


def test_cancelling_the_task_cancels_the_job(node):
    jobs = []
    node.on("call", jobs.append)

    async def main():
        task = asyncio.ensure_future(erlang.async_call("f"))
        while not jobs:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(erlang.async_call("f"), 0.01)
        jobs[0].answer(1)  # too late, and harmless
        await asyncio.sleep(0)

    asyncio.run(main())
    assert [job.cancelled for job in jobs] == [True, True] and not node.jobs


def test_an_answered_job_is_not_cancelled(node):
    node.serve(f=lambda: 1)
    cancelled = []
    node_cancel = node.cancel_op
    erlang._port.cancel_op = lambda number: cancelled.append(number) or node_cancel(number)
    asyncio.run(erlang.async_call("f"))
    assert cancelled == []


def test_async_timeout(node):
    node.on("call", lambda job: None)
    with pytest.raises(TimeoutError):
        asyncio.run(erlang.async_call("f", timeout=0.01))


def test_the_deadline_of_the_call_at_hand_ends_an_async_call(node):
    jobs = []
    node.on("call", jobs.append)

    async def main():
        node.set_call(deadline=time.monotonic_ns() + 1_000_000_000)
        tasks = [asyncio.ensure_future(erlang.async_call("f", timeout=60)) for _ in range(3)]
        await asyncio.wait(tasks)
        assert all(isinstance(task.exception(), TimeoutError) for task in tasks)
        with pytest.raises(TimeoutError):  # it has passed: nothing is sent
            await erlang.async_call("f")

    asyncio.run(main())
    assert [job.cancelled for job in jobs] == [True] * 3 and not node.jobs


def test_an_answer_that_comes_together_with_the_end_of_the_time_is_ignored(node):
    jobs, told = [], []
    node.on("call", jobs.append)

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, what: told.append(what))
        task = asyncio.ensure_future(erlang.async_call("f", timeout=0.005))
        while not jobs:
            await asyncio.sleep(0)
        time.sleep(0.01)  # sleep-ok: it holds the loop up until the time is over, so that both are due in its next turn
        jobs[0].answer(1)
        try:
            return await task
        except TimeoutError:
            return "late"

    assert asyncio.run(main()) in (1, "late") and told == []


def test_no_timer_is_left_of_calls_with_a_time_limit(node):
    node.serve(f=lambda: 1)

    async def main():
        for _ in range(3):
            await asyncio.gather(*(erlang.async_call("f", timeout=3600) for _ in range(3)))
        return [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]

    assert asyncio.run(main()) == []


def test_an_answer_that_has_no_counterpart_is_raised(node):
    node.on("call", lambda job: job.fail(erlang.TermError("result: too deep")))
    with pytest.raises(erlang.TermError, match="too deep"):
        asyncio.run(erlang.async_call("f"))


def test_loops_in_several_threads_have_their_own_mailboxes(node):
    node.serve(f=lambda n: n)
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(asyncio.run(erlang.async_call("f", n)))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(8)) and len(node.mailboxes) == 8


def test_closed_loops_are_swept_while_another_thread_looks_for_them(node):
    node.serve(f=lambda: 1)
    main = threading.current_thread()
    looks, sweeps, swept = threading.Event(), threading.Event(), threading.Event()

    class Loop(asyncio.SelectorEventLoop):
        @property
        def __class__(self):
            if sweeps.is_set() and threading.current_thread() is main:
                looks.set()
                assert swept.wait(10)
            return type(self)

        def is_closed(self):
            if threading.current_thread() is not main:
                if sweeps.is_set():
                    swept.set()  # this is the second
                sweeps.set()
                assert looks.wait(10)
            return super().is_closed()

    held = [Loop() for _ in range(3)]
    for loop in held:
        loop.run_until_complete(erlang.async_call("f"))
    for loop in held:
        loop.close()
    thread = threading.Thread(target=lambda: asyncio.run(erlang.async_call("f")))
    thread.start()
    assert sweeps.wait(10)
    assert asyncio.run(erlang.async_call("f")) == 1
    thread.join()
    assert [box.closed for box in node.mailboxes[:3]] == [True] * 3


def test_mailboxes_end_with_their_loops(node):
    node.serve(f=lambda: 1)
    for _ in range(5):
        asyncio.run(erlang.async_call("f"))
    held = [asyncio.new_event_loop() for _ in range(5)]
    for loop in held:  # closed, but somebody keeps them
        loop.run_until_complete(erlang.async_call("f"))
        loop.close()
    asyncio.run(erlang.async_call("f"))
    gc.collect()
    assert [box.closed for box in node.mailboxes] == [True] * 11


def test_async_call_on_the_contexts_loop_uses_the_contexts_mailbox(node):
    node.serve(f=lambda n: n + 1)
    handle = asyncio.run_coroutine_threadsafe(erlang.async_call("f", 1), node.context_loop())
    assert handle.result(10) == 2
    assert node.mailboxes == []


def test_errors_from_the_fake_are_what_they_say(node):
    def raises():
        raise failed("throw", "it")

    node.serve(f=raises, g=lambda: (_ for _ in ()).throw(Failed("cancelled")))
    with pytest.raises(erlang.CallError) as caught:
        erlang.call("f")
    assert caught.value.error_class == "throw"
