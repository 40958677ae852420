"""The Python side of the suites of shared data: state, shared dictionaries, channels, buffers."""

import asyncio
import io
import json
import threading

import erlang
from erlang.byte_channel import ByteChannel, ByteChannelClosed
from erlang.channel import Channel, ChannelClosed, reply


def outcome(function, *args, **keywords):
    """The value, or the name of the exception and what it says."""
    try:
        return ("ok", function(*args, **keywords))
    except Exception as error:
        return (type(error).__name__, str(error))


# State


def state(name, *args):
    return outcome(getattr(erlang, "state_" + name), *args)


def state_default(key):
    return [erlang.state_get(key), erlang.state_get(key, "other"), erlang.state_get(key, default=7)]


def state_in_threads(key, threads, times):
    def count():
        for _ in range(times):
            erlang.state_incr(key)

    running = [threading.Thread(target=count) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return erlang.state_get(key)


def first_increments(keys):
    return [erlang.state_incr(key) for key in keys]


async def state_in_coroutines(key, times):
    await asyncio.gather(*(erlang.async_call("state_incr", key) for _ in range(times)))
    erlang.state_set("seen", True)
    return await erlang.async_call("state_get", key)


# Shared dictionaries


def dict_tour(handle):
    shared = erlang.SharedDict(handle)
    shared["a"] = 1
    shared.set("b", [2, None])
    shared.update({"c": {"d": (3,)}}, e=None)
    found = {
        "a": shared["a"],
        "b": shared.get("b"),
        "none": shared.get("e", "default"),
        "missing": shared.get("x", "default"),
        "in": ["a" in shared, "x" in shared, "e" in shared],
        "len": len(shared),
        "keys": sorted(shared.keys()),
        "iter": sorted(shared),
        "items": sorted(shared.items(), key=str),
        "pop": [shared.pop("a"), shared.pop("a", "gone")],
        "setdefault": [shared.setdefault("b", 9), shared.setdefault("f", 9)],
        "errors": [outcome(lambda: shared["x"])[0], outcome(shared.pop, "x")[0], outcome(shared.__delitem__, "x")[0]],
    }
    del shared["b"]
    found["left"] = sorted(shared)
    return found


def dict_get(handle, key):
    return outcome(lambda: erlang.SharedDict(handle)[key])


def dict_set(handle, key, value):
    erlang.SharedDict(handle)[key] = value


def dict_all(handle):
    shared = erlang.SharedDict(handle)
    calls = {
        "get": lambda: shared.get("a"),
        "set": lambda: shared.set("a", 1),
        "in": lambda: "a" in shared,
        "len": lambda: len(shared),
        "keys": shared.keys,
        "pop": lambda: shared.pop("a"),
        "del": lambda: shared.__delitem__("a"),
        "update": lambda: shared.update(a=1),
        "clear": shared.clear,
    }
    return {name: outcome(call)[0] for name, call in calls.items()}


def dict_clear(handle):
    shared = erlang.SharedDict(handle)
    shared.clear()
    return [len(shared), shared == erlang.SharedDict(shared), shared]


def dict_destroy(handle):
    shared = erlang.SharedDict(handle)
    shared.destroy()
    return [outcome(shared.destroy)[0], outcome(len, shared)[0]]


def dict_pops(handle, key):
    return erlang.SharedDict(handle).pop(key, None)


# Channels


def drain(ref):
    return list(Channel(ref))


async def drain_async(ref):
    return [message async for message in Channel(ref)]


def try_all(ref):
    """Messages that are None are told from none."""
    nothing, found, channel = object(), [], Channel(ref)
    while True:
        message = channel.try_receive(nothing)
        if message is nothing:
            return found
        found.append(message)


async def first_async(ref):
    return await Channel(ref).async_receive()


def receive_in(ref, ms):
    return outcome(Channel(ref).receive, timeout_ms=ms)


def with_channel(ref):
    with Channel(ref) as channel:
        message = channel.receive(timeout_ms=-1)
    return [message, outcome(channel.send, 1)[0], ChannelClosed.__name__]


def answer(ref, to):
    for message in Channel(ref):
        reply(to, ("answer", message))
    return True


def fill(ref, message):
    """Sends until the channel is full."""
    channel, n = Channel(ref), 0
    while channel.try_send(message):
        n += 1
    return n


# Byte channels


def echo_bytes(ref):
    channel = ByteChannel(ref)
    for data in channel:
        channel.send_bytes(data.upper())
    return "ended"


async def echo_bytes_async(ref):
    channel = ByteChannel(ref)
    async for data in channel:
        await channel.async_send(data.upper())
    return "ended"


def own_bytes(ref):
    channel = ByteChannel(ref)
    channel.send_bytes(b"mine")
    return [channel.try_receive_bytes(), outcome(channel.receive_bytes, timeout_ms=0)[0]]


def bytes_one_by_one(ref):
    channel = ByteChannel(ref)
    return [channel.receive_bytes(), channel.receive_bytes(5), channel.try_receive_bytes(), channel.try_receive_bytes("empty")]


async def bytes_async(ref):
    return await ByteChannel(ref).async_receive_bytes()


def closed_bytes(ref):
    channel = ByteChannel(ref)
    channel.close()
    try:
        channel.receive_bytes()
    except ByteChannelClosed:
        return ["closed", outcome(channel.send_bytes, b"x")[0]]


def back(ref):
    return ByteChannel(ref)


# Buffers


def kind(buffer):
    return [type(buffer).__name__, buffer.content_length, isinstance(buffer, io.BufferedIOBase)]


def read_all(buffer):
    return buffer.read()


def nested(environ):
    body = environ["wsgi.input"]
    return json.loads(body.read(int(environ["CONTENT_LENGTH"])))


def read_sizes(buffer, sizes):
    return [buffer.read(size) for size in sizes]


def tell_and_read(buffer, to):
    """Says that it is about to read, so that what is read is written after that."""
    erlang.send(to, "reading")
    return buffer.read(5)


def read1(buffer, size):
    return buffer.read1(size)


def lines(buffer):
    return list(buffer)


def lines_of(buffer, size):
    return [buffer.readline(size) for _ in range(4)]


def readlines(buffer, hint):
    return buffer.readlines(hint)


def text_lines(buffer):
    return io.TextIOWrapper(buffer, encoding="utf-8").read()


def around(buffer):
    first = buffer.read(3)
    return [first, buffer.tell(), buffer.seek(0), buffer.read(2), buffer.seek(2, 1), buffer.read(1), buffer.seek(-2, 2), buffer.read(), buffer.tell()]


def nonblocking(buffer):
    return [buffer.readable_amount(), buffer.at_eof(), buffer.read_nonblock(2), buffer.read_nonblock(), buffer.read_nonblock(), buffer.at_eof(), len(buffer)]


def whole(buffer):
    part = buffer.read(2)
    view = buffer.getbuffer()
    return [part, bytes(view[1:3]), view.readonly, buffer.getvalue(), bytes(buffer), buffer.find(b"o"), buffer.find(b"o", 5), buffer.find(b"zz"), buffer.tell()]


def view_of(buffer):
    with memoryview(buffer) as view:
        return bytes(view)


def into(buffer):
    target = bytearray(8)
    return [buffer.readinto(target), bytes(target)]


def in_thread(buffer):
    found = []
    thread = threading.Thread(target=lambda: found.append(buffer.read()))
    thread.start()
    thread.join()
    return found


async def read_async(buffer):
    head = await buffer.async_read(3)
    line = await buffer.async_readline()
    return [head, line, [rest async for rest in buffer]]


async def cancelled_read(buffer, to):
    waiting = asyncio.ensure_future(buffer.async_read(4))
    await asyncio.sleep(0)
    waiting.cancel()
    try:
        await waiting
    except asyncio.CancelledError:
        await erlang.async_call("told", to)
    return await buffer.async_read(4)


def close(buffer):
    buffer.close()
    buffer.close()
    return [buffer.closed, outcome(buffer.read)[0]]


def wait_for_more(buffer):
    return [outcome(buffer.read), buffer.read_nonblock(), outcome(buffer.at_eof)]


kept = []


def keep(buffer):
    kept.append(buffer)
    return buffer.read(1)


def is_kept(buffer):
    return buffer is kept[0]


def give_back(buffer):
    return buffer


def size_of_rest(buffer):
    total = 0
    while True:
        piece = buffer.read(100_000)
        if not piece:
            return total
        total += len(piece)


def closed_by_another_thread(buffer):
    ended = []

    def read():
        try:
            ended.append(buffer.read())
        except ValueError:
            ended.append("ValueError")

    reader = threading.Thread(target=read)
    reader.start()
    while not buffer._body.arrived:
        pass
    buffer.close()
    reader.join()
    return ended[0]


async def closed_by_another_task(buffer):
    reading = asyncio.ensure_future(buffer.async_read())
    while not buffer._body.arrived:
        await asyncio.sleep(0)
    buffer.close()
    try:
        return await reading
    except ValueError:
        return "ValueError"


def dict_popitems(handle, threads):
    """What several threads take out of a dictionary, and what they found when they saw it empty."""
    shared, taken, left = erlang.SharedDict(handle), [], []

    def take():
        while True:
            try:
                taken.append(shared.popitem())
            except KeyError:
                return left.append(len(shared))

    running = [threading.Thread(target=take) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return [sorted(taken), left]
