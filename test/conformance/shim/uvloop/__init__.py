"""Stands for uvloop in uvloop's own test-suite: the same names, made of the loop under test."""

import asyncio
import os
import sys

from one_module import FACTORY as new_event_loop
from one_module import LOOP_TYPE as Loop

__version__ = "the loop under test"
__path__.append(os.path.join(os.environ["UVLOOP_SOURCES"], "uvloop"))  # for uvloop._testbase


class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    def _loop_factory(self):
        return new_event_loop()


def install():
    asyncio.set_event_loop_policy(EventLoopPolicy())


def run(main, *, loop_factory=new_event_loop, debug=None):
    async def checked():
        if not isinstance(asyncio.get_running_loop(), Loop):
            raise TypeError("uvloop.run() uses a non-uvloop event loop")
        return await main

    if sys.version_info >= (3, 11):
        with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
            return runner.run(checked())
    asyncio.set_event_loop_policy(EventLoopPolicy())
    try:
        return asyncio.run(checked(), debug=debug)
    finally:
        asyncio.set_event_loop_policy(None)
