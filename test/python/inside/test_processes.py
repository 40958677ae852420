"""Sending to Erlang processes, finding them, watching them."""

import asyncio
import threading

import pytest
from fake_node import pid
from waiting import event_of_a_thread

import erlang
from erlang import Atom


@pytest.fixture(autouse=True)
def forget_self():
    from erlang import _processes

    _processes._self = None
    yield
    _processes._self = None


def on_context_loop(node, times=2):
    """Returns when the context's thread has come around again, so that what was drained before has run."""
    for _ in range(times):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), node.context_loop()).result(10)


def test_send(node):
    node.on("send", lambda job: job.answer(Atom("ok")))
    for to in (pid(1), "name", Atom("name"), b"name"):
        assert erlang.send(to, [1]) is None
    assert [args for _, args in node.log] == [(pid(1), [1])] + [("name", [1])] * 3


def test_sending_to_nobody(node):
    node.on("send", lambda job: job.fail((Atom("noproc"), job.args[0])))
    for to in (pid(1), "name"):
        with pytest.raises(erlang.ProcessError) as caught:
            erlang.send(to, 1)
        assert caught.value.target == to
    node.on("send", lambda job: job.fail((Atom("forbidden"), "not this one")))
    with pytest.raises(erlang.ForbiddenError, match="not this one"):
        erlang.send("name", 1)


def test_what_nobody_can_send_to(node):
    for to in (1, None, ("name", "node")):
        with pytest.raises(TypeError):
            erlang.send(to, 1)
    assert node.log == []


def test_whereis(node):
    node.on("whereis", lambda job: job.answer(pid(7) if job.args == ("here",) else None))
    assert erlang.whereis("here") == pid(7) and erlang.whereis(Atom("here")) == pid(7) and erlang.whereis(b"here") == pid(7)
    assert erlang.whereis("there") is None
    node.on("whereis", lambda job: job.answer(Atom("none")))  # with other type options
    assert erlang.whereis("there") is None
    with pytest.raises(TypeError):
        erlang.whereis(pid(7))


def test_self_is_asked_for_once(node):
    node.on("self", lambda job: job.answer(pid(9)))
    assert erlang.self() == pid(9) and erlang.self() == pid(9)
    assert len(node.log) == 1


def down(job, reason="normal"):
    job.answer((Atom("down"), job.args[0], reason))


def test_a_monitor_outside_a_loop_calls_back_on_the_contexts_thread(node):
    jobs, told = [], []
    node.on("monitor", jobs.append)
    watch = erlang.monitor(pid(1), lambda *what: told.append((*what, threading.current_thread())))
    assert watch.pid == pid(1) and told == [] and isinstance(watch, erlang.Monitor) and "over" not in repr(watch)
    down(jobs[0], "killed")
    on_context_loop(node)
    assert told == [(pid(1), "killed", node._the_context().thread)]
    assert "over" in repr(watch) and not watch.demonitor()


def test_a_monitor_in_a_loop_calls_back_on_that_loop(node):
    jobs = []
    node.on("monitor", jobs.append)

    async def main():
        told = asyncio.get_running_loop().create_future()
        erlang.monitor(pid(1), lambda *what: told.set_result(what))
        threading.Thread(target=down, args=(jobs[0],)).start()
        return await told

    assert asyncio.run(main()) == (pid(1), "normal")


def test_one_that_is_dead_already_is_told_too(node):
    node.on("monitor", lambda job: down(job, Atom("noproc")))
    told = []
    erlang.monitor(pid(1), lambda *what: told.append(what))
    on_context_loop(node)
    assert told == [(pid(1), Atom("noproc"))]


def test_demonitor_cancels(node):
    jobs, told = [], []
    node.on("monitor", jobs.append)
    watch = erlang.monitor(pid(1), lambda *what: told.append(what))
    assert erlang.demonitor(watch) and jobs[0].cancelled
    assert not erlang.demonitor(watch)
    down(jobs[0])
    on_context_loop(node)
    assert told == []


def test_demonitor_wins_against_an_answer_that_lies_in_the_mailbox(node):
    jobs, told = [], []
    node.on("monitor", jobs.append)

    async def main():
        watch = erlang.monitor(pid(1), lambda *what: told.append(what))
        down(jobs[0])
        watch.demonitor()
        next_one = asyncio.get_running_loop().create_future()
        erlang.monitor(pid(2), lambda *_: next_one.set_result(None))
        down(jobs[1])
        await asyncio.wait_for(next_one, 10)  # it lies in the mailbox behind the first

    asyncio.run(main())
    assert told == []


@pytest.mark.parametrize("inside", [True, False])
def test_a_coroutine_function_becomes_a_task(node, inside, capsys):
    node.on("monitor", down)
    ended = threading.Event()

    async def callback(pid, reason):
        asyncio.current_task().add_done_callback(lambda _: ended.set())  # behind the one that prints
        await asyncio.sleep(0)
        raise ValueError("in the task")

    async def main():
        erlang.monitor(pid(1), callback)
        await event_of_a_thread(ended)

    if inside:
        asyncio.run(main())
    else:
        erlang.monitor(pid(1), callback)
        assert ended.wait(10)
    assert "ValueError: in the task" in capsys.readouterr().err


def test_a_coroutine_callback_registered_on_the_contexts_loop_becomes_a_task_there(node):
    jobs = []
    node.on("monitor", jobs.append)
    told = threading.Event()

    async def callback(pid, reason):
        assert asyncio.get_running_loop() is node.context_loop()
        told.set()

    async def main():
        erlang.monitor(pid(1), callback)

    asyncio.run_coroutine_threadsafe(main(), node.context_loop()).result(10)
    down(jobs[0])
    assert told.wait(10)


def test_what_a_callback_raises_is_printed(node, capsys):
    node.on("monitor", down)
    erlang.monitor(pid(1), lambda pid, reason: 1 / 0)
    on_context_loop(node)
    printed = capsys.readouterr().err
    assert "the callback of a monitor of" in printed and "ZeroDivisionError" in printed


def test_a_monitor_that_cannot_be_made_is_printed(node, capsys):
    node.on("monitor", lambda job: job.fail((Atom("killed"), "why")))
    told = []
    erlang.monitor(pid(1), lambda *what: told.append(what))
    on_context_loop(node)
    assert told == [] and "CallError: killed: 'why'" in capsys.readouterr().err


def test_what_cannot_be_watched(node):
    with pytest.raises(TypeError):
        erlang.monitor("name", print)
    with pytest.raises(TypeError):
        erlang.monitor(pid(1), None)


@pytest.mark.parametrize("use", [lambda: erlang.send("x", 1), lambda: erlang.whereis("x"), lambda: erlang.self()])
def test_without_a_port_it_says_so(use):
    with pytest.raises(RuntimeError, match="no Erlang to call"):
        use()


def test_atom():
    assert erlang.atom("a") == Atom("a")
