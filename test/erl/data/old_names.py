"""What code that was written for erlang_python does with names of the package `erlang`."""

import asyncio
import time

import erlang

NAMES = """Atom Channel ByteChannel ErlangEventLoop ErlangEventLoopPolicy ErlangHandler EventLoopPolicy ExecutionMode Function
InlineScheduleMarker Pid ProcessError Ref ScheduleMarker Span SuspensionRequired async_call atom byte_channel call channel
consume_time_slice detect_mode get_event_loop_policy install new_event_loop run schedule schedule_inline schedule_py send
setup_logging sleep spawn_task trace whereis""".split()


def missing():
    listed = set(erlang.__all__) | {"byte_channel", "channel"}
    return [name for name in NAMES if not hasattr(erlang, name) or name not in listed or name not in dir(erlang)]


def scanned():
    names = ["__torch_function__", "__array__", "endswith", "_pytest", "__wrapped__", "__file_", "pytest_plugins", "setup"]
    return [name for name in names if hasattr(erlang, name)]


def older_module():
    from erlang_loop import get_event_loop_policy

    return isinstance(get_event_loop_policy(), erlang.ErlangEventLoopPolicy)


def tail_erlang(*args):
    return erlang.schedule("add", *args)


def tail_python(n):
    return erlang.schedule_py("math", "sqrt", [n])


def tail_inline(values):
    return erlang.schedule_inline("builtins", "dict", kwargs=values)


def tail_coroutine():
    return erlang.schedule_py("old_names", "coroutine")


async def coroutine():
    await asyncio.sleep(0)
    return "awaited"


def tail_fails():
    return erlang.schedule("fails")


def tail_sleeps():
    return erlang.schedule_py("time", "sleep", [3600])


def tail_nowhere():
    return erlang.schedule_py("nowhere.at_all", "f")


def count_down(n):
    return erlang.schedule_py("old_names", "count_down", [n - 1]) if n else "done"


def hop(n):
    return erlang.schedule("hop", n - 1) if n else 0


async def coroutine_schedules():
    await asyncio.sleep(0)
    return erlang.schedule_py("builtins", "sum", [[1, 2]])


runs = 0


def suspends():
    global runs
    runs += 1
    try:
        try:
            total = erlang.call("add", 1, 2)
        except erlang.SuspensionRequired:
            raise
        except BaseException:
            total = "swallowed"
    finally:
        pass
    return [erlang.SuspensionRequired.__bases__[0].__name__, total, runs]


def with_keyword():
    return erlang.add(1, x=2)


def sleeps():
    begun = time.monotonic()
    assert erlang.sleep(0.01) is None

    async def main():
        await erlang.sleep(0.01)

    erlang.run(main())
    return time.monotonic() - begun >= 0.02


def atoms():
    return [erlang.atom("ok"), erlang.Atom("ok"), erlang.atom("ok") == erlang.Atom("ok")]
