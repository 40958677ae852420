"""Messages to and from Erlang through erlport: it has no channels, but messages, which nobody waits for."""

from erlport import Atom, erlang

received = 0


def count(_message):
    global received
    received += 1


def start():
    """From now on messages are counted."""
    global received
    received = 0
    erlang.set_message_handler(count)
    return Atom(b"ok")


def how_many():
    """Behind the messages, for they come the same way."""
    return received


def send(to, number):
    for i in range(number):
        erlang.cast(to, i)
    return Atom(b"ok")
