"""Code that stands still in several ways at once, for requests that are cancelled, interrupted or left behind meanwhile."""

import asyncio
import os
import threading
import time

import erlang
from erlang import _port

ran = []


def note(what):
    ran.append(what)


def notes():
    return list(ran)


def call(name, *args):
    return erlang.call(name, *args)


async def blocked(name):
    """Stops the loop that it runs on."""
    answer = erlang.call(name)
    note(answer)
    return answer


def until(started, path):
    with open(started, "w"):
        pass
    while not os.path.exists(path):
        time.sleep(0.002)  # sleep-ok: a file sends no message
    return "over"


def sleep_here(started, seconds):
    with open(started, "w"):
        pass
    time.sleep(seconds)  # sleep-ok: it is to be interrupted


async def sleep_there(started, seconds):
    with open(started, "w"):
        pass
    await asyncio.sleep(seconds)


def coroutine_behind_a_thread():
    """A thread makes the context's loop while this request runs, which then returns a coroutine."""

    async def nothing():
        pass

    async def five():
        return 5

    thread = threading.Thread(target=lambda: erlang.spawn_task(nothing()))
    thread.start()
    thread.join()
    return five()


def in_thread(name):
    got = []
    thread = threading.Thread(target=lambda: got.append(erlang.call(name)))
    thread.start()
    thread.join()
    return got


def in_own_loop(name):
    async def main():
        return await erlang.async_call(name)

    return asyncio.run(main())


def ask_both(name):
    """Two answers are awaited at once on a loop of our own."""

    async def main():
        return await asyncio.gather(erlang.async_call(name), erlang.async_call(name))

    return asyncio.run(main())


def loop_that_leaves(name, path):
    """A loop that is closed while one of its tasks is a request."""

    async def main():
        asked = asyncio.ensure_future(erlang.async_call(name))
        while not os.path.exists(path):
            await asyncio.sleep(0.002)
        return asked

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return "left"


def daemons(name, number):
    """Threads that wait for Erlang again and again, to the very end."""

    def ask():
        while True:
            erlang.call(name)

    for _ in range(number):
        threading.Thread(target=ask, daemon=True).start()


class Large(bytes):
    """Tells Erlang of its end."""

    def __del__(self):
        _port.start_op(_port.context_mailbox(), print, "send", (Large.to, erlang.Atom("gone")), None)


def large_argument_of_an_operation_that_waits_for_its_turn(to, name):
    Large.to = to
    box = _port.context_mailbox()
    first = _port.start_op(box, print, "call", (name, []), None)
    second = _port.start_op(box, print, "call", (name, [Large(200000)]), None)
    return [_port.cancel_op(second), _port.cancel_op(first)]


def closed_while_it_is_drained():
    box = _port.new_mailbox()
    came = []

    def done(ok, value):
        came.append(value)
        box.close()

    for _ in range(2):
        _port.start_op(box, done, "self", (), None)
    box2 = _port.new_mailbox()
    while not came:
        erlang.self()  # its answer comes behind theirs
        box.drain()
    return len(came)


def closed_while_an_operation_is_made():
    box = _port.new_mailbox()

    class Late:
        pass

    erlang.register_encoder(Late, lambda _: box.close())
    try:
        _port.start_op(box, print, "call", ("f", [Late()]), None)
    except ValueError:
        return "refused"


def made_by_hand(what):
    try:
        type(what())()
    except TypeError:
        return "refused"


def mailbox_by_hand():
    return made_by_hand(_port.new_mailbox)
