"""Does its work, until a cache has no bound."""

from tally import begin, handle, summary

__all__ = ["begin", "handle", "summary", "cache_everything"]


def cache_everything(rows: str) -> int:
    """Keeps copy after copy until the memory limit of the context says no."""
    cache = []
    while True:
        cache.append((rows * 64).encode())
