"""The bill itself: what a test leaves behind is found."""

import asyncio
import logging
import os
import subprocess
import threading
import warnings

import pytest
from loop_bill import Bill


def leave(what):
    """Leaves something behind; gives the function that takes it away again."""
    if what == "a descriptor":
        fd = os.dup(0)
        return lambda: os.close(fd)
    if what == "a child":
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        return lambda: (child.stdin.close(), child.wait())
    if what == "a thread":
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        return lambda: (end.set(), thread.join())
    if what == "a warning":
        warnings.warn("not closed", ResourceWarning)
    elif what == "a line in the log":
        logging.getLogger("asyncio").error("what a loop reports")
    elif what == "an unraisable exception":

        class Fails:
            def __del__(self):
                raise ValueError

        Fails()
    return lambda: None


@pytest.mark.parametrize("what", ["a descriptor", "a child", "a thread", "a warning", "a line in the log", "an unraisable exception"])
def test_each_kind_of_debt_is_found(what, monkeypatch, bill):
    monkeypatch.setattr("loop_bill.BOUND", 0.01)
    monkeypatch.setattr("loop_bill.until", lambda settled, bound=0: settled())
    bill.allow_log("what a loop reports")
    own = Bill()
    with own.watching():
        take_away = leave(what)
        own.add_up()
    take_away()
    found = {"a descriptor": "descriptors", "a child": "children", "a thread": "threads"}.get(what, what)
    assert any(debt.startswith(found) for debt in own.debts), own.debts


def test_an_expected_line_that_does_not_come_is_a_debt():
    own = Bill()
    own.expect_log("never comes")
    with own.watching():
        own.add_up()
    assert len(own.debts) == 1 and "never comes" in own.debts[0]


def test_who_leaves_nothing_owes_nothing():
    own = Bill()
    with own.watching():
        loop = asyncio.new_event_loop()
        loop.close()
        own.add_up()
    assert own.debts == []
