"""Calls from Python into Erlang, timed in Python."""

import threading
import time

from erlang import call


def times(name, count):
    """Nanoseconds of each of so many calls."""
    taken = []
    for _ in range(count):
        start = time.perf_counter_ns()
        call(name)
        taken.append(time.perf_counter_ns() - start)
    return taken


def times_in_thread(name, count):
    """The same in a thread of Python's own."""
    taken = []
    thread = threading.Thread(target=lambda: taken.extend(times(name, count)))
    thread.start()
    thread.join()
    return taken


def rate(name, threads, seconds):
    """Calls per second of so many threads that call without pause."""
    counts = [0] * threads
    running = True
    ready = threading.Barrier(threads + 1)

    def caller(number):
        call(name)
        ready.wait()
        count = 0
        while running:
            call(name)
            count += 1
        counts[number] = count

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(threads)]
    for thread in callers:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    time.sleep(seconds)  # the measurement lasts this long
    running = False
    for thread in callers:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)
