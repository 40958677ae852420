"""Blocking functions in the worker's thread pool."""

import asyncio
import builtins
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import event_of_a_thread

from erlang import Atom, _names, _threads

HERE = __name__
variable = contextvars.ContextVar("variable", default=None)
gate = threading.Event()
entered = threading.Event()
seen = []


@pytest.fixture(autouse=True)
def fresh():
    gate.clear(), entered.clear(), seen.clear()
    yield
    gate.set()


def add(a, b=0):
    return a + b


class Holder:
    @staticmethod
    def where():
        return threading.current_thread().name


def wait_at_the_gate(mark):
    entered.set()
    gate.wait(20)
    seen.append(mark)
    return mark


def fails_at_the_gate():
    entered.set()
    gate.wait(20)
    raise ValueError("late")


async def coroutine_function(n):
    await asyncio.sleep(0)
    return n, threading.current_thread().name


def reads_and_sets():
    was = variable.get()
    variable.set("changed")
    return was


def stops():
    raise StopIteration(5)


def run(function, *args, module=HERE, **kwargs):
    return _threads.run(module, function, list(args), kwargs)


@pytest.mark.parametrize("name", ["add", b"add", Atom("add"), list(b"add")])
def test_names_of_every_kind(name):
    assert asyncio.run(_threads.run(HERE, name, [1], {b"b": 2})) == 3
    assert asyncio.run(_threads.run(HERE, name, [1], {Atom("b"): 3})) == 4


def test_dotted_names_and_the_pool():
    assert asyncio.run(run("Holder.where")).startswith("erlang")
    assert asyncio.run(_threads.run("os.path", "join", ["a", "b"], {})) == "a/b"


@pytest.mark.parametrize("module, name, error", [
    (HERE, "nothing", AttributeError),
    ("no_such_module", "f", ImportError),
    (HERE, "a..b", ValueError),
    (HERE, "", ValueError),
    (HERE, None, ValueError),
    (5, "f", ValueError),
])  # fmt: skip
def test_names_of_nothing(module, name, error):
    with pytest.raises(error):
        asyncio.run(_threads.run(module, name, [], {}))


def test_the_loop_goes_on_meanwhile():
    async def main():
        task = asyncio.ensure_future(run("wait_at_the_gate", 1))
        await event_of_a_thread(entered)
        assert not task.done()
        gate.set()
        return await task

    assert asyncio.run(main()) == 1


def test_a_coroutine_is_run_to_its_end_in_the_thread():
    n, where = asyncio.run(run("coroutine_function", 5))
    assert n == 5 and where.startswith("erlang")


def test_context_variables_are_the_callers_and_stay_the_callers():
    async def main():
        variable.set("mine")
        assert await run("reads_and_sets") == "mine"
        return variable.get()

    assert asyncio.run(main()) == "mine"


def test_what_the_function_raises_is_raised():
    with pytest.raises(TypeError):
        asyncio.run(run("add"))
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(run("stops"))


@pytest.mark.parametrize("function", ["wait_at_the_gate", "fails_at_the_gate"])
def test_a_running_function_is_waited_for_when_the_task_is_cancelled(function, caplog):
    async def main():
        task = asyncio.ensure_future(run(function, *([1] if function.startswith("wait") else [])))
        await event_of_a_thread(entered)
        for _ in range(3):  # again and again: it does not give up waiting
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ([1] if function.startswith("wait") else [])
    assert "never retrieved" not in caplog.text


def test_a_queued_function_never_runs_when_the_task_is_cancelled(monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setattr(_threads, "_pools", {False: ThreadPoolExecutor(1)})

    async def main():
        running = asyncio.ensure_future(run("wait_at_the_gate", "first"))
        await event_of_a_thread(entered)
        queued = asyncio.ensure_future(run("wait_at_the_gate", "second"))
        await asyncio.sleep(0)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued  # at once, with the first one still running
        assert not running.done()
        gate.set()
        assert await running == "first"
        assert await run("add", 1) == 1  # through the queue behind it

    asyncio.run(main())
    assert seen == ["first"]


def test_a_module_that_another_thread_is_importing_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / "slowly_imported.py").write_text("import builtins\nbuiltins.importing.set()\nbuiltins.go_on.wait(10)\ndef answer():\n    return 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(builtins, "importing", threading.Event(), raising=False)
    monkeypatch.setattr(builtins, "go_on", threading.Event(), raising=False)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(_names.resolve, "slowly_imported", "answer")
        assert builtins.importing.wait(10)  # it is in sys.modules now, and has no `answer` yet
        begun = threading.Event()
        second = pool.submit(lambda: begun.set() or _names.resolve("slowly_imported", "answer"))
        assert begun.wait(10)
        builtins.go_on.set()
        assert first.result(10)() == second.result(10)() == 42
