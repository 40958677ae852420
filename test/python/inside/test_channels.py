"""Channels and inlets, against a channel and an inlet process that are played by the test."""

import asyncio
import collections
import gc
import pickle
import threading
import warnings

import pytest
from fake_node import pid
from waiting import turns

import erlang
from erlang import Atom, ByteChannel, Channel, ChannelClosed
from erlang._inlet import Inlet


class Queue:
    """The Erlang process of a channel: keeps waiting receivers and senders in order."""

    def __init__(self, node, capacity=3, atom=str):
        self.messages, self.receivers, self.senders = collections.deque(), [], []
        self.capacity, self.closed, self.atom, self.lock = capacity, False, atom, threading.RLock()
        node.on("channel", self.on_op)

    def on_op(self, job):
        with self.lock:
            what, to, *rest = job.args
            assert to == pid(1)
            getattr(self, str(what))(job, *rest)

    def later(self, job, waiting, timeout):
        waiting.append(job)
        if timeout:
            threading.Timer(timeout[0] / 1000, self.expire, (job, waiting)).start()

    def expire(self, job, waiting):
        with self.lock:
            if job in waiting:
                waiting.remove(job)
                job.answer(self.atom("timeout"))

    def receive(self, job, *timeout):
        if self.messages:
            job.answer((self.atom("ok"), self.messages.popleft()))
            while self.senders and len(self.messages) < self.capacity:
                self.send(self.senders.pop(0), None)
        elif self.closed:
            job.answer(self.atom("closed"))
        else:
            self.later(job, self.receivers, timeout)

    def try_receive(self, job):
        self.receive(job) if self.messages or self.closed else job.answer(self.atom("empty"))

    def send(self, job, _message, *timeout):
        message = job.args[2]
        waiting = [r for r in self.receivers if not r.cancelled]
        if self.closed:
            job.answer(self.atom("closed"))
        elif waiting:
            self.receivers.remove(waiting[0])
            job.answer(self.atom("ok"))
            waiting[0].answer((self.atom("ok"), message))
        elif len(self.messages) < self.capacity:
            self.messages.append(message)
            job.answer(self.atom("ok"))
        else:
            self.later(job, self.senders, timeout)

    def try_send(self, job, message):
        if self.closed or self.receivers or len(self.messages) < self.capacity:
            self.send(job, message)
        else:
            job.answer(self.atom("full"))

    def close(self, job=None):
        self.closed = True
        for receiver in self.receivers:
            receiver.answer(self.atom("closed"))
        if job:
            job.answer(self.atom("ok"))

    def info(self, job):
        job.answer({self.atom("size"): len(self.messages)})


@pytest.fixture(params=[str, Atom])
def queue(node, request):
    return Queue(node, atom=request.param)


def test_what_a_channel_is_made_of(node):
    for value in (pid(1), ("$py_channel", pid(1), "terms"), (Atom("$py_channel"), pid(1), Atom("terms")), Channel(pid(1))):
        assert Channel(value) == Channel(pid(1)) and hash(Channel(value)) == hash(Channel(pid(1)))
    assert ByteChannel(("$py_channel", pid(1), "bytes")).pid == pid(1)
    for value in (None, "x", ("$py_channel", 1, "terms"), ("$py_ref", pid(1), "terms"), ("$py_channel", pid(1))):
        with pytest.raises(TypeError, match="no channel"):
            Channel(value)
    with pytest.raises(TypeError, match="use ByteChannel"):
        Channel(("$py_channel", pid(1), "bytes"))
    with pytest.raises(TypeError, match="use Channel"):
        ByteChannel(("$py_channel", pid(1), "terms"))


def test_a_channel_goes_back_to_erlang_as_it_came():
    if not hasattr(__import__("_erlang"), "encoders"):
        back = erlang.binary_to_term(erlang.term_to_binary([Channel(pid(1)), ByteChannel(pid(1))]))
        assert back == [("$py_channel", pid(1), "terms"), ("$py_channel", pid(1), "bytes")]


PAIR = ("$py_byte_channel", ("$py_channel", pid(1), "bytes"), ("$py_channel", pid(2), "bytes"))


def test_a_pair_receives_from_one_queue_and_sends_into_the_other(node):
    asked = []

    def on_op(job):
        asked.append((str(job.args[0]), job.args[1]))
        job.answer(("ok", b"x") if "receive" in str(job.args[0]) else "ok")

    node.on("channel", on_op)
    channel = ByteChannel(PAIR)
    assert channel.receive_bytes(timeout_ms=5) == channel.try_receive_bytes() == b"x"
    channel.send_bytes(b"y")
    channel.try_send(b"y")
    channel.close()
    expected = [("receive", 1), ("try_receive", 1), ("send", 2), ("try_send", 2), ("close", 1), ("close", 2)]
    assert asked == [(what, pid(number)) for what, number in expected]


def test_a_pair_stays_one(node):
    channel = ByteChannel(PAIR)
    assert channel == ByteChannel(channel) == pickle.loads(pickle.dumps(channel)) != ByteChannel(pid(1))
    if not hasattr(__import__("_erlang"), "encoders"):
        assert erlang.binary_to_term(erlang.term_to_binary(channel)) == PAIR
    with pytest.raises(TypeError, match="use ByteChannel"):
        Channel(PAIR)
    with pytest.raises(TypeError, match="not of bytes"):
        ByteChannel(("$py_byte_channel", ("$py_channel", pid(1), "bytes"), ("$py_channel", pid(2), "terms")))


def test_a_time_limit_in_milliseconds_is_the_same_limit(node):
    asked = []

    def on_op(job):
        asked.append(job.args[2:])
        job.answer(("ok", 1))

    node.on("channel", on_op)
    for limits in ({"timeout_ms": 5}, {"timeout": 0.005}, {"timeout_ms": 0}, {"timeout_ms": -1}, {}):
        Channel(pid(1)).receive(**limits)
    assert asked == [(5,), (5,), (0,), (), ()]
    with pytest.raises(TypeError, match="give one"):
        Channel(pid(1)).receive(1, timeout_ms=1)


def test_messages_go_through_in_order(queue):
    channel = Channel(pid(1))
    for message in (1, None, "x"):
        channel.send(message)
    assert not channel.try_send(4) and channel.info() == {"size": 3}
    assert [channel.receive() for _ in range(3)] == [1, None, "x"]
    assert channel.try_receive() is None and channel.try_receive(default=0) == 0
    assert channel.try_send(5) and channel.try_receive() == 5


def test_closing_ends_receiving_after_what_is_in_it(queue):
    channel = Channel(pid(1))
    channel.send(1)
    channel.send(2)
    channel.close()
    assert list(channel) == [1, 2]
    for use in (channel.receive, channel.try_receive, lambda: channel.send(1), lambda: channel.try_send(1)):
        with pytest.raises(ChannelClosed):
            use()


def test_a_receive_that_times_out_loses_nothing(queue):
    channel = Channel(pid(1))
    with pytest.raises(TimeoutError):
        channel.receive(timeout=0.01)
    with pytest.raises(TimeoutError):
        channel.receive(timeout=0)
    channel.send(1)
    assert channel.receive(timeout=10) == 1


def test_a_send_that_times_out_was_not_sent(queue):
    channel = Channel(pid(1))
    for n in range(3):
        channel.send(n, timeout=1)
    with pytest.raises(TimeoutError):
        channel.send(3, timeout=0.01)
    channel.close()
    assert list(channel) == [0, 1, 2]


def test_time_limits_are_whole_milliseconds_and_never_shorter(node):
    from erlang.channel import _milliseconds

    assert [_milliseconds(t) for t in (None, 0, 0.0001, 1, 1.0005, -3)] == [(), (0,), (1,), (1000,), (1001,), (0,)]
    assert _milliseconds(float("inf")) == _milliseconds(1e7) == ()


def test_coroutines_send_and_receive(queue):
    async def main():
        channel = Channel(pid(1))
        received = []

        async def consume():
            async for message in channel:
                received.append(message)

        task = asyncio.ensure_future(consume())
        for n in range(100):
            await channel.async_send(n)
        channel.close()
        await task
        with pytest.raises(ChannelClosed):
            await channel.async_receive()
        with pytest.raises(ChannelClosed):
            await channel.async_send(1)
        return received

    assert asyncio.run(main()) == list(range(100))


def test_a_cancelled_async_receive_loses_nothing(queue):
    async def main():
        channel = Channel(pid(1))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(channel.async_receive(), 0.001)
        # A message that is handed over at the very moment of the cancellation.
        waiting = asyncio.ensure_future(channel.async_receive())
        await asyncio.sleep(0)
        assert len(queue.receivers) == 1  # the place in the queue is the one of before
        await channel.async_send("first")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await channel.async_send("second")
        return [await channel.async_receive(), await channel.async_receive()]

    assert asyncio.run(main()) == ["first", "second"]


def test_random_cancellations_lose_nothing_and_keep_the_order(queue):
    async def main():
        channel, received = Channel(pid(1)), []

        async def produce():
            for n in range(300):
                await channel.async_send(n)

        producer = asyncio.ensure_future(produce())
        turn = 0
        while len(received) < 300:
            turn += 1
            task = asyncio.ensure_future(channel.async_receive())
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            task.cancel()
            try:
                received.append(await task)
            except asyncio.CancelledError:
                pass
        await producer
        return received

    assert asyncio.run(main()) == list(range(300))


def test_a_message_is_for_the_receiver_that_still_waits(queue):
    """One of several workers is cancelled, the one at the front of the queue in Erlang: the others must not wait behind its place."""

    async def main():
        channel, done = Channel(pid(1)), []

        async def worker(name):
            async for job in channel:
                done.append((name, job))

        workers = [asyncio.ensure_future(worker(name)) for name in "abc"]
        await turns()
        workers[0].cancel()
        await turns()
        for job in (1, 2, 3):
            await channel.async_send(job)
            await turns()
        for each in workers:
            each.cancel()
        return done

    assert asyncio.run(main()) == [("b", 1), ("c", 2), ("b", 3)]


def test_a_message_for_a_receiver_that_is_cancelled_goes_to_the_next_in_line(queue):
    async def main():
        channel = Channel(pid(1))
        first, second = (asyncio.ensure_future(channel.async_receive()) for _ in range(2))
        await turns()
        first.cancel()
        queue.receivers[0].answer(("ok", "m"))
        queue.receivers.pop(0)
        return await asyncio.wait_for(second, 5)

    assert asyncio.run(main()) == "m"


def test_a_dropped_channel_gives_up_its_place(node, queue):
    async def main():
        channel = Channel(pid(1))
        task = asyncio.ensure_future(channel.async_receive())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        assert not queue.receivers[0].cancelled
        del channel
        await asyncio.sleep(0)  # the step that we are in still holds the task that ended
        gc.collect()
        assert queue.receivers[0].cancelled and not node.jobs

    asyncio.run(main())


def test_blocking_receive_in_a_coroutine_warns(queue):
    async def main():
        channel = Channel(pid(1))
        channel.send(1)
        return channel.receive()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert asyncio.run(main()) == 1
    assert ["async_send" in str(seen[0].message), "async_receive" in str(seen[1].message)] == [True, True]
    assert {w.filename for w in seen} == {__file__}


def test_with_closes(queue):
    with Channel(pid(1)) as channel:
        pass
    assert queue.closed and pickle.loads(pickle.dumps(channel)) == channel


def test_byte_channels_give_bytes_whatever_arrives(queue):
    channel = ByteChannel(pid(1))
    for data in (b"ascii", b"\xff", bytearray(b"x")):
        channel.send_bytes(data)
    queue.messages[0] = "ascii"  # what a context with default options makes of the binary
    assert [channel.receive_bytes(), channel.receive(), channel.try_receive_bytes()] == [b"ascii", b"\xff", b"x"]
    assert channel.try_receive_bytes() is None
    channel.send(memoryview(b"view"))
    assert isinstance(asyncio.run(channel.async_receive_bytes()), bytes)
    with pytest.raises(TypeError, match="carries bytes"):
        channel.send_bytes("text")


def test_info_of_a_dead_channel(node):
    node.on("channel", lambda job: job.answer("closed"))
    with pytest.raises(ChannelClosed):
        Channel(pid(1)).info()


def test_reply(node):
    node.on("send", lambda job: job.answer("ok"))
    assert erlang.channel.reply(pid(2), "answer") is True and node.log == [("send", (pid(2), "answer"))]


# Inlets


class Pushed:
    """The Erlang process of an inlet."""

    def __init__(self, node, atom=str):
        self.items, self.end, self.waiting, self.closed, self.atom, self.takes = [], None, [], False, atom, 0
        node.on("inlet", self.on_op)

    def on_op(self, job):
        what, to, *rest = job.args
        assert to == pid(2)
        if str(what) == "close":
            self.closed = True
            return job.answer(self.atom("ok"))
        self.takes += 1
        self.waiting.append((job, rest[0]))
        self.serve()

    def push(self, *items):
        self.items += items
        self.serve()

    def finish(self, end=None):
        self.end = end or self.atom("done")
        self.serve()

    def serve(self):
        self.waiting = [(job, limit) for job, limit in self.waiting if not job.cancelled]
        if self.waiting and (self.items or self.end):
            job, limit = self.waiting.pop(0)
            batch, self.items = self.items[:limit], self.items[limit:]
            job.answer((self.atom("items"), batch) if batch else self.end)


@pytest.fixture(params=[str, Atom])
def pushed(node, request):
    return Pushed(node, request.param)


def test_an_inlet_yields_what_is_pushed_in_batches(pushed):
    pushed.push(*range(100))
    pushed.finish()
    assert list(Inlet(pid(2))) == list(range(100)) and pushed.takes == 3
    pushed.end = None
    pushed.push(*range(5))
    pushed.finish()

    async def main():
        return [item async for item in Inlet(pid(2))]

    assert asyncio.run(main()) == list(range(5))


def test_an_inlet_waits_for_what_is_pushed_later(pushed):
    timer = threading.Timer(0.01, lambda: (pushed.push("later"), pushed.finish()))
    timer.start()

    async def main():
        return [item async for item in Inlet(pid(2))]

    assert asyncio.run(main()) == ["later"]


def test_an_aborted_inlet_raises_after_its_items_and_then_ends(pushed):
    pushed.push(1, 2)
    pushed.finish((pushed.atom("aborted"), {"why": 1}))
    inlet = Inlet(pid(2))
    assert [next(inlet), next(inlet)] == [1, 2]
    with pytest.raises(erlang.StreamAborted) as caught:
        next(inlet)
    assert caught.value.reason == {"why": 1} and list(inlet) == [] and not pushed.closed

    async def main():
        inlet = Inlet(pid(2))
        with pytest.raises(erlang.StreamAborted):
            await inlet.__anext__()
        return [item async for item in inlet]

    assert asyncio.run(main()) == []


def test_closing_an_inlet(pushed):
    pushed.push(1, 2)
    with Inlet(pid(2)) as inlet:
        next(inlet)
    assert pushed.closed and list(inlet) == []
    pushed.closed = False
    inlet.close()
    assert not pushed.closed  # once is enough

    async def main():
        async with Inlet(pid(2)) as inlet:
            waiting = asyncio.ensure_future(inlet.__anext__())
            await asyncio.sleep(0)
            waiting.cancel()
        return inlet

    assert list(asyncio.run(main())) == [] and pushed.closed


def test_letting_go_of_an_inlet_closes_it(pushed):
    pushed.push(1, 2)
    next(Inlet(pid(2)))
    gc.collect()
    assert pushed.closed


def test_a_cancelled_wait_loses_no_item(pushed):
    async def main():
        inlet = Inlet(pid(2))
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(inlet.__anext__(), 0.001)
        assert pushed.takes == 1
        pushed.push("a")
        pushed.push("b")
        pushed.finish()
        return [item async for item in inlet]

    assert asyncio.run(main()) == ["a", "b"]


def test_several_tasks_share_an_inlet(pushed):
    async def main():
        inlet, found = Inlet(pid(2)), []

        async def consume():
            async for item in inlet:
                found.append(item)
                await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(consume()) for _ in range(4)]
        await turns()
        assert pushed.takes == 1  # batches of several takes could mix
        for n in range(0, 100, 10):
            pushed.push(*range(n, n + 10))
            await asyncio.sleep(0)
        pushed.finish()
        await asyncio.gather(*tasks)
        return found

    assert asyncio.run(main()) == list(range(100))


def test_an_inlet_goes_on_in_another_loop(pushed):
    inlet = Inlet(pid(2))

    async def give_up():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(inlet.__anext__(), 0.001)

    async def read():
        return [item async for item in inlet]

    asyncio.run(give_up())
    pushed.waiting.clear()  # its mailbox went with the loop
    pushed.push("a")
    pushed.finish()
    assert asyncio.run(read()) == ["a"]


@pytest.mark.parametrize("how", [lambda inlet: asyncio.run(collected(inlet)), list])
def test_what_came_for_nobody_is_for_whoever_reads_on(pushed, how):
    inlet = Inlet(pid(2))

    async def give_up():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(inlet.__anext__(), 0.001)
        pushed.push("a", "b")
        await turns()

    asyncio.run(give_up())
    pushed.push("c")
    pushed.finish()
    assert how(inlet) == ["a", "b", "c"]


async def collected(inlet):
    return [item async for item in inlet]


@pytest.mark.parametrize("how", [lambda inlet: asyncio.run(collected(inlet)), list])
def test_an_interrupted_read_is_not_read_on_as_if_nothing_was_lost(pushed, monkeypatch, how):
    inlet = Inlet(pid(2))
    pushed.push("a")
    assert next(inlet) == "a"

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("erlang._port.call_op", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(inlet)
    pushed.push("c")
    pushed.finish()
    with pytest.raises(erlang.StreamAborted):
        how(inlet)


def test_letting_go_of_an_inlet_gives_up_its_take(node, pushed):
    async def main():
        inlet = Inlet(pid(2))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(inlet.__anext__(), 0.001)
        take = pushed.waiting[0][0]
        del inlet
        await asyncio.sleep(0)
        gc.collect()
        assert take.cancelled and pushed.closed

    asyncio.run(main())


def test_a_conversation_is_not_held_up_by_batches(pushed):
    """Three items are there; the fourth depends on the answers to them."""
    from erlang._streams import ITEMS, run_with_inlet

    pushed.push(0, 1, 2)
    source = run_with_inlet(pid(2), HERE, "doubles", [], {})
    assert [source.take(10, 1000) for _ in range(3)] == [(ITEMS, [0]), (ITEMS, [2]), (ITEMS, [4])]
    assert pushed.takes == 1


HERE = __name__


def total(inlet, start=0):
    return sum(inlet, start)


async def atotal(inlet):
    return sum([item async for item in inlet])


def doubles(inlet):
    for item in inlet:
        yield 2 * item


async def adoubles(inlet):
    async for item in inlet:
        yield 2 * item


def as_list(inlet):
    return list(inlet)


@pytest.mark.parametrize("function, result", [("total", 6), ("atotal", 6), ("as_list", [1, 2, 3])])
def test_run_with_inlet_gives_the_result(pushed, function, result):
    from erlang._streams import is_source, run_with_inlet

    pushed.push(1, 2, 3)
    pushed.finish()
    found = run_with_inlet(pid(2), HERE, function, [], {})
    if hasattr(found, "__await__"):
        found = asyncio.run(found)
    assert found == result and not is_source(found)


@pytest.mark.parametrize("function", ["doubles", "adoubles"])
def test_run_with_inlet_gives_a_source_for_what_yields(pushed, function):
    from erlang._streams import DONE, ITEMS, is_source, run_with_inlet

    async def main():
        source = run_with_inlet(pid(2), HERE, function, [], {})
        assert is_source(source)
        found = []
        for n in range(3):
            pushed.push(n)
            batch = source.take(10, 1000)
            batch = await batch if hasattr(batch, "__await__") else batch
            assert batch[0] == ITEMS
            found += batch[1]
        pushed.finish()
        last = source.take(10, 1000)
        assert (await last if hasattr(last, "__await__") else last) == DONE
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert asyncio.run(main()) == [0, 2, 4]
