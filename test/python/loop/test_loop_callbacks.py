"""call_soon, call_soon_threadsafe and the handles they give."""

import asyncio
import contextvars
import functools
import threading
import weakref

import pytest
from loop_support import turns

variable = contextvars.ContextVar("variable", default="outside")


def run_all(loop):
    """Everything that is ready now."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_callbacks_run_in_the_order_in_which_they_were_given(loop):
    seen = []
    for i in range(1000):
        loop.call_soon(seen.append, i)
    assert seen == []
    run_all(loop)
    assert seen == list(range(1000))


def test_arguments_reach_the_callback_positionally(loop):
    seen = []
    loop.call_soon(lambda *args: seen.append(args))
    loop.call_soon(lambda *args: seen.append(args), 1)
    loop.call_soon(lambda *args: seen.append(args), 1, None, "three")
    run_all(loop)
    assert seen == [(), (1,), (1, None, "three")]


def test_keyword_arguments_other_than_context_are_refused(loop):
    for schedule in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(TypeError):
            schedule(print, end="")
    with pytest.raises(TypeError):
        loop.call_later(0, print, end="")
    with pytest.raises(TypeError):
        loop.call_at(0, print, end="")


def test_a_callback_given_by_a_callback_runs_in_the_next_round(loop):
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "given by first")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["first", "second"]
    run_all(loop)
    assert seen == ["first", "second", "given by first"]


def test_a_callback_that_gives_itself_again_does_not_starve_input(loop, run):
    """Rounds look at descriptors even when there is always something ready."""
    import os

    r, w = os.pipe()
    going = True

    def again():
        if going:
            loop.call_soon(again)

    async def main():
        nonlocal going
        readable = loop.create_future()
        loop.add_reader(r, readable.set_result, None)
        again()
        os.write(w, b"x")
        await readable
        loop.remove_reader(r)
        going = False

    run(main())
    os.close(r)
    os.close(w)


def test_a_callback_that_gives_itself_again_does_not_starve_timers(loop, run):
    going = True

    def again():
        if going:
            loop.call_soon(again)

    async def main():
        nonlocal going
        again()
        await asyncio.sleep(0.001)  # sleep-ok: a timer is the subject
        going = False

    run(main())


def test_cancelled_callbacks_do_not_run(loop):
    seen = []
    handles = [loop.call_soon(seen.append, i) for i in range(10)]
    for handle in handles[::2]:
        handle.cancel()
    run_all(loop)
    assert seen == [1, 3, 5, 7, 9]
    assert [handle.cancelled() for handle in handles] == [True, False] * 5


def test_a_callback_can_cancel_one_of_the_same_round(loop):
    seen = []
    loop.call_soon(lambda: later.cancel())
    later = loop.call_soon(seen.append, "no")
    run_all(loop)
    assert seen == []


def test_cancelling_twice_and_after_the_run_is_harmless(loop):
    handle = loop.call_soon(int)
    run_all(loop)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    run_all(loop)


def test_a_handle_is_an_asyncio_handle(loop):
    for handle in (loop.call_soon(int), loop.call_soon_threadsafe(int)):
        assert isinstance(handle, asyncio.Handle) and not isinstance(handle, asyncio.TimerHandle)
        handle.cancel()


def a_named_function():
    pass


def test_the_repr_of_a_handle_names_the_callback_and_its_state(loop):
    handle = loop.call_soon(a_named_function)
    assert "a_named_function" in repr(handle) and "cancelled" not in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle) and "a_named_function" not in repr(handle)


@pytest.mark.needs_python(3, 12)
def test_a_handle_gives_its_context(loop):
    context = contextvars.copy_context()
    assert loop.call_soon(int, context=context).get_context() is context
    assert loop.call_later(0, int, context=context).get_context() is context
    assert isinstance(loop.call_soon(int).get_context(), contextvars.Context)
    run_all(loop)


@pytest.mark.needs_python(3, 12)
def test_a_handle_that_has_run_still_gives_its_context(loop):
    context = contextvars.copy_context()
    handles = [loop.call_soon(int, context=context), loop.call_later(0, int, context=context), loop.call_soon(int, "x", context=context)]
    loop.set_exception_handler(lambda loop, context: None)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert [handle.get_context() for handle in handles] == [context] * 3


def test_a_cancelled_handle_lets_its_arguments_go(loop):
    import gc
    import weakref

    class Thing:
        pass

    for schedule in (lambda *a: loop.call_soon(*a), lambda *a: loop.call_later(3600, *a)):
        thing = Thing()
        gone = weakref.ref(thing)
        handle = schedule(lambda thing: None, thing)
        del thing
        assert gone() is not None
        handle.cancel()
        gc.collect()
        assert gone() is None


def test_without_a_context_the_callers_is_copied(loop):
    seen = []

    def give():
        variable.set("given")
        loop.call_soon(lambda: (seen.append(variable.get()), variable.set("changed")))
        loop.call_soon(lambda: seen.append(variable.get()))

    contextvars.copy_context().run(give)
    variable_outside = variable.get()
    run_all(loop)
    assert variable_outside == "outside" and variable.get() == "outside"
    assert seen == ["given", "given"]


@pytest.mark.parametrize("how", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def test_with_a_context_the_callback_runs_in_it(loop, how):
    context = contextvars.copy_context()
    context.run(variable.set, "in the context")
    seen = []

    def callback():
        seen.append(variable.get())
        variable.set("set by the callback")
        loop.stop()

    if how == "call_later":
        loop.call_later(0, callback, context=context)
    elif how == "call_at":
        loop.call_at(loop.time(), callback, context=context)
    else:
        getattr(loop, how)(callback, context=context)
    loop.run_forever()
    assert seen == ["in the context"]
    assert context[variable] == "set by the callback" and variable.get() == "outside"


def test_readers_run_in_the_context_that_added_them(loop, run):
    import os

    r, w = os.pipe()

    async def main():
        variable.set("of the task")
        seen = loop.create_future()
        loop.add_reader(r, lambda: seen.done() or seen.set_result(variable.get()))
        variable.set("later")
        os.write(w, b"x")
        got = await seen
        loop.remove_reader(r)
        return got

    assert run(main()) == "of the task"
    os.close(r)
    os.close(w)


def test_threadsafe_callbacks_wake_a_loop_that_waits(loop):
    def other_thread():
        waits.wait()
        loop.call_soon_threadsafe(loop.stop)

    waits = threading.Event()
    thread = threading.Thread(target=other_thread)
    thread.start()
    loop.call_soon(waits.set)
    loop.run_forever()
    thread.join()


def test_threadsafe_callbacks_keep_their_order_among_the_others(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon_threadsafe(seen.append, 2)
    loop.call_soon(seen.append, 3)
    run_all(loop)
    assert seen == [1, 2, 3]


def test_threadsafe_callbacks_given_before_the_run_are_not_lost(loop):
    seen = []
    thread = threading.Thread(target=lambda: [loop.call_soon_threadsafe(seen.append, i) for i in range(100)])
    thread.start()
    thread.join()
    run_all(loop)
    assert seen == list(range(100))


def test_a_threadsafe_callback_can_be_cancelled(loop):
    seen = []
    loop.call_soon_threadsafe(seen.append, "no").cancel()
    run_all(loop)
    assert seen == []


@pytest.mark.parametrize("how", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def test_a_closed_loop_takes_no_callbacks(loop, how):
    loop.close()
    args = (0, int) if how in ("call_later", "call_at") else (int,)
    with pytest.raises(RuntimeError, match="closed"):
        getattr(loop, how)(*args)


def test_callbacks_left_over_at_close_never_run(make_loop):
    loop, seen = make_loop(), []
    loop.call_soon(seen.append, 1)
    loop.call_later(0, seen.append, 2)
    loop.call_soon_threadsafe(seen.append, 3)
    loop.close()
    assert seen == []


def test_callbacks_wait_for_the_next_run_after_a_stop(loop, run):
    seen = []
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.call_soon(seen.append, "kept")
    run(turns())
    assert seen == ["kept"]


def test_a_hundred_thousand_callbacks_at_once(loop):
    count = 0

    def one():
        nonlocal count
        count += 1

    for _ in range(100_000):
        loop.call_soon(one)
    run_all(loop)
    assert count == 100_000


def test_a_weak_reference_to_a_handle_ends_with_it(loop):
    for schedule in (loop.call_soon, functools.partial(loop.call_later, 3600)):
        handle = schedule(print)
        weak = weakref.ref(handle)
        assert weak() is handle
        handle.cancel()
        del handle
        run_all(loop)  # what was cancelled is dropped in its turn
        assert weak() is None


def test_arguments_by_name(loop):
    seen = []

    def sees():
        seen.append(1)

    context = contextvars.copy_context()
    loop.call_soon(callback=sees)
    loop.call_soon(context=context, callback=sees)
    loop.call_soon_threadsafe(callback=sees, context=context)
    loop.call_later(delay=0, callback=sees)
    loop.call_later(0, callback=sees, context=context)
    loop.call_at(callback=sees, when=loop.time())
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert len(seen) == 6
    loop.set_task_factory(factory=None)
    for bad in (
        lambda: loop.call_soon(function=sees),
        lambda: loop.call_soon(sees, callback=sees),
        lambda: loop.call_later(callback=sees),
        lambda: loop.call_later(1, 2, delay=3),
        lambda: loop.set_task_factory(),
    ):
        with pytest.raises(TypeError):
            bad()
