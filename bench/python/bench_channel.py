"""The Python end of a channel."""

from erlang.channel import Channel


def receive_all(channel):
    """How many there were until it was closed."""
    return sum(1 for _ in Channel(channel))


async def receive_all_async(channel):
    count = 0
    async for _ in Channel(channel):
        count += 1
    return count


def send(channel, count):
    end = Channel(channel)
    for number in range(count):
        end.send(number)
