"""Does its work, until it thinks that the process belongs to it."""

import os

from tally import begin, handle, summary

__all__ = ["begin", "handle", "summary", "give_up"]


def give_up(status: int) -> None:
    """Ends the process at once: no exception, no clean-up, no goodbye."""
    os._exit(status)
