"""Calls from Python into Erlang through erlport, timed in Python."""

import time

from erlport import Atom, erlang

MODULE = Atom(b"bench_callback")
FUNCTION = Atom(b"nothing")


def times(count):
    """Nanoseconds of each of so many calls."""
    call = erlang.call
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        call(MODULE, FUNCTION, [[]])
        taken.append(time.perf_counter_ns() - start)
    return taken
