"""How tests wait in a loop: for what they wait for, with a bound that only a failure reaches."""

import asyncio

BOUND = 10  # seconds


async def turns(n=20):
    """Lets the loop go round `n` times, in which everything happens that waits for nothing but its turn."""
    for _ in range(n):
        await asyncio.sleep(0)


async def others_have_ended():
    """Returns when no other task is left on this loop, and what was called back by their ends has run."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        _, late = await asyncio.wait(others, timeout=BOUND)
        assert not late, late


async def event_of_a_thread(event):
    """Waits for a `threading.Event`, while the loop goes on."""
    assert await asyncio.to_thread(event.wait, BOUND)
