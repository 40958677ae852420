"""Python that calls Erlang that calls Python, from synchronous code, threads and coroutines."""

import asyncio
import contextvars
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import erlang

ran = []  # what has run, in order
_lock = threading.Lock()


def note(what):
    with _lock:
        ran.append(what)


def take_notes():
    with _lock:
        notes, ran[:] = list(ran), []
    return notes


def down(n):
    """One level for each call; what is no number is an error from below and passes through."""
    if n == 0:
        return 0
    below = erlang.call("down", n - 1)
    return below + 1 if isinstance(below, int) else below


async def down_async(n):
    if n == 0:
        return 0
    below = await erlang.async_call("down_async", n - 1)
    return below + 1 if isinstance(below, int) else below


def call(name, *args):
    return erlang.call(name, *args)


async def async_call(name, *args):
    return await erlang.async_call(name, *args)


def loop_call(name, *args):
    return asyncio.run(async_call(name, *args))


async def aside_call(name, *args):
    """A thread calls, and a coroutine waits for the thread."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, context.run, erlang.call, name, *args)


def call_on_a_loop_that_stays(name):
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(async_call(name), loop)


async def until_exists(path):
    while not os.path.exists(path):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # now the main thread is likely to sleep


async def busy_after(seconds, path):
    await asyncio.sleep(seconds)
    time.sleep(0.4)  # sleep-ok: a step during which the grace goes over is the subject
    try:
        await asyncio.Event().wait()
    finally:
        open(path, "w").close()


def noted_call(before, name, after):
    note(before)
    result = erlang.call(name)
    note(after)
    return result


def failure(name, *args, timeout=None):
    """What calling it raises."""
    try:
        return ["nothing", erlang.call(name, *args, timeout=timeout)]
    except Exception as error:
        return [type(error).__name__, isinstance(error, RuntimeError), str(error)]


def many_threads(threads, calls):
    """Each thread asks for its own number, often; the wrong answers."""
    wrong = []

    def one(i):
        for j in range(calls):
            answer = erlang.call("same", [i, j])
            if list(answer) != [i, j]:
                wrong.append([i, j, answer])

    started = [threading.Thread(target=one, args=(i,)) for i in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return wrong


async def many_tasks(n):
    answers = await asyncio.gather(*(erlang.async_call("same", i) for i in range(n)))
    return answers == list(range(n))


async def stay_and_exit(n):
    """N calls are out when the worker ends."""
    tasks = [asyncio.ensure_future(erlang.async_call("stay", i)) for i in range(n)]
    await erlang.async_call("all_there")
    os._exit(len(tasks) % 7)


async def cancelled():
    task = asyncio.ensure_future(erlang.async_call("stay", 0))
    await erlang.async_call("all_there")
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled"
    return "not cancelled"


# A tree of calls: [id, [child, ...]]. A node is one call of Python, and for each child it calls Erlang, which calls Python.

def sync_node(tree):
    ident, children = tree
    note(ident)
    return 1 + sum(erlang.call("node", child) for child in children)


def thread_node(tree):
    ident, children = tree
    note(ident)
    if not children:
        return 1
    with ThreadPoolExecutor(len(children)) as pool:
        return 1 + sum(pool.map(lambda child: erlang.call("node", child), children))


async def task_node(tree):
    ident, children = tree
    note(ident)
    return 1 + sum(await asyncio.gather(*(erlang.async_call("node", child) for child in children)))
