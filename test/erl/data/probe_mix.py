"""Everything in both directions at once: the Python half of the mix and of the soak.

A journey is a list of hops that a token makes: each hop is one call of Python, of one of the kinds below, which sends the token
on by calling the Erlang function `hop`. Whoever starts a journey gets the token back, or what went wrong on the way.
"""

import asyncio
import contextvars
import gc
import sys
import threading
import traceback

import erlang


def sync_hop(hops, token):
    return erlang.call("hop", hops, token)


async def task_hop(hops, token):
    return await erlang.async_call("hop", hops, token)


def loop_hop(hops, token):
    """On a loop of its own, on the main thread."""
    return asyncio.run(task_hop(hops, token))


def thread_hop(hops, token):
    """From a thread of its own, for which the main thread waits."""
    return in_threads([lambda: erlang.call("hop", hops, token)])[0]


def relative_hop(hops, token):
    """The same from a thread that works for the call at hand."""
    context = contextvars.copy_context()
    return in_threads([lambda: context.run(erlang.call, "hop", hops, token)])[0]


async def aside_hop(hops, token):
    """From a thread for which a coroutine waits."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, context.run, erlang.call, "hop", hops, token)


def in_threads(functions):
    """What they return, in order; the first exception is raised when all have ended."""
    outcomes = [None] * len(functions)

    def one(i):
        try:
            outcomes[i] = (True, functions[i]())
        except BaseException as error:
            outcomes[i] = (False, error)

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ok, value in outcomes:
        if not ok:
            raise value
    return [value for _, value in outcomes]


async def many_tasks(n, base):
    """How many of N calls that are out together get their own answers."""
    answers = await asyncio.gather(*(erlang.async_call("same", base + i) for i in range(n)))
    return sum(answer == base + i for i, answer in enumerate(answers))


def many_threads(threads, calls, base):
    def one(i):
        return sum(erlang.call("same", base + i * calls + j) == base + i * calls + j for j in range(calls))

    return sum(in_threads([lambda i=i: one(i) for i in range(threads)]))


def stay():
    return erlang.call("stay")


async def stay_async():
    return await erlang.async_call("stay")


def stay_in_a_loop():
    return asyncio.run(stay_async())


def pass_on(source, target):
    """From one channel to the other until the first is closed; how many it were."""
    there = erlang.Channel(target)
    passed = 0
    for message in erlang.Channel(source):
        there.send(message)
        passed += 1
    return passed


async def pass_on_async(source, target):
    there = erlang.Channel(target)
    passed = 0
    async for message in erlang.Channel(source):
        await there.async_send(message)
        passed += 1
    return passed


def count(n):
    for i in range(n):
        yield erlang.call("same", i)


async def count_async(n):
    for i in range(n):
        yield await erlang.async_call("same", i)


def total(items):
    return sum(items)


async def total_async(items):
    return sum([item async for item in items])


def doubled(items):
    for item in items:
        yield item * 2


def rest():
    """What is left when nothing runs: threads beside the main thread and the pools, coroutines, mailboxes of loops that are open."""
    from erlang import _mailbox

    gc.collect()  # a loop whose asyncio.run was interrupted at its very end is left to the collector
    # Python goes on listing a thread whose start() was interrupted before there was one.
    alive = [t for t in threading.enumerate() if t.is_alive()]
    threads = [t.name for t in alive if t is not threading.main_thread() and not is_pooled(t)]
    tasks = [repr(t) for loop in list(_mailbox._boxes) if not loop.is_closed() for t in asyncio.all_tasks(loop)]
    open_loops = sum(not loop.is_closed() for loop in list(_mailbox._boxes))
    return [threads, tasks, max(0, open_loops - 1)]


def stacks():
    """Where every thread and every coroutine stands, for reports."""
    names = {t.ident: t.name for t in threading.enumerate()}
    threads_now = [[names.get(ident, "?"), "".join(traceback.format_stack(frame, 12))] for ident, frame in sys._current_frames().items()]
    tasks = [repr(o) for o in gc.get_objects() if isinstance(o, asyncio.Task) and not o.done()]
    return [threads_now, tasks]


def is_pooled(thread):
    return thread.name.startswith(("erlang", "asyncio_", "ThreadPoolExecutor"))


# Load ----------------------------------------------------------------------------------------------------------------


def threads_for_a_while(threads, calls):
    """Threads of Python that call Erlang one time after the other; True when all answers were right."""
    return many_threads(threads, calls, 1) == threads * calls


async def awaits_for_a_while(n):
    """So many awaits in flight; True when all answers were right."""
    return await many_tasks(n, 1) == n
