"""The Python ends of stream_memory.escript. Items are numbered, and every byte is looked at once."""

import time


def produce(count, size):
    filling = b"\xff" * (size - 8)
    for number in range(count):
        yield number.to_bytes(8, "big") + filling


def consume(items, size, rest):
    """How many bytes there were; raises at the first item that is not the one that was due. ``rest``: seconds after every 10."""
    filling = b"\xff" * (size - 8)
    count = 0
    for item in items:
        if item[:8] != count.to_bytes(8, "big") or item[8:] != filling:
            raise ValueError(f"item {count} is not what was pushed")
        count += 1
        if rest and count % 10 == 0:
            time.sleep(rest)
    return count * size
