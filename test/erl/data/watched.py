"""What the tests of logging and tracing run in a context."""

import asyncio
import logging
import os

import erlang

log = logging.getLogger("watched.demo")


def say(level, text, extra=None):
    log.log(level, text, extra={str(k): v for k, v in (extra or {}).items()})


def fail(text):
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception(text)


def odd():
    class Odd:
        def __repr__(self):
            raise OSError("no")

    loop = []
    loop.append(loop)
    log.info("odd \ud800", extra={"odd": Odd(), "huge": 1 << 100000, "long": "x" * 100000, "loop": loop, "nan": float("nan")})


def many(count):
    for i in range(count):
        log.info("%d", i)


def while_busy():
    """The call is not over until Erlang says so."""
    log.info("before")
    erlang.call("proceed")
    log.info("after")


def from_a_child():
    child = os.fork()
    if child == 0:
        log.error("from the child")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def crash():
    log.critical("last words")
    os.abort()


async def too_late():
    try:
        log.info("begun")
        await asyncio.sleep(3600)
    finally:
        log.info("cleaned up")


def set_levels():
    return [logging.getLogger().level, len([h for h in logging.getLogger().handlers if isinstance(h, erlang.ErlangHandler)])]


def flush():
    for handler in logging.getLogger().handlers:
        handler.flush()


# Spans ---------------------------------------------------------------------------------------------------------------------------


def spans():
    with erlang.Span("outer", table="users", n=1) as outer:
        outer.event("first", k=1)
        outer.event("second")
        with erlang.Span("inner"):
            pass
        outer.set(rows=3)
    return [outer.trace_id, outer.span_id]


def failing_span():
    with erlang.Span("fails"):
        raise KeyError("gone")


@erlang.trace
def plain():
    return 1


@erlang.trace("named")
def named():
    return 2


@erlang.trace()
async def coroutine():
    async with erlang.Span("within"):
        await asyncio.sleep(0)
    return 3


@erlang.trace
def generator():
    with erlang.Span("step"):
        yield 1
    got = yield 2
    return got


@erlang.trace
async def agenerator():
    yield 1
    with erlang.Span("late"):
        await asyncio.sleep(0)
    yield 2


def decorated():
    with erlang.Span("consumer") as consumer:
        plain(), named()
        steps = generator()
        first = next(steps)
        with erlang.Span("between"):
            pass
        rest = next(steps)
        try:
            steps.send("sent")
        except StopIteration as stop:
            result = stop.value
    return [first, rest, result, consumer.span_id]


async def in_tasks():
    async def one(i):
        async with erlang.Span(f"task {i}"):
            await asyncio.sleep(0)
            with erlang.Span(f"in task {i}"):
                await asyncio.sleep(0)

    async with erlang.Span("all"):
        await asyncio.gather(*(one(i) for i in range(3)))
        assert [item async for item in agenerator()] == [1, 2]
        return await coroutine()


def nested(name):
    with erlang.Span("above") as above:
        erlang.call(name)
    return [above.trace_id, above.span_id]


async def nested_async(name):
    async with erlang.Span("above") as above:
        await erlang.async_call(name)
    return [above.trace_id, above.span_id]


def below():
    with erlang.Span("below"):
        return erlang.trace_context()["traceparent"]


async def below_async():
    async with erlang.Span("below"):
        return 1


def loose():
    """Leaves a span half entered: nobody's trace is changed by it afterwards."""
    span = erlang.Span("loose")
    span.__enter__()
    return 1


def many_spans(count):
    for i in range(count):
        with erlang.Span("many", i=i):
            pass


def twice():
    span = erlang.Span("twice")
    with span:
        pass
    with span:
        pass
