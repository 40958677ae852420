"""Objects that tell when they end."""

import gc
import weakref

alive = weakref.WeakValueDictionary()


class Thing:
    def __init__(self, name):
        self.name = name
        self.seen = []
        self.child = Child()
        alive[name] = self

    def add(self, value, *, times=1):
        self.seen.extend([value] * times)
        return len(self.seen)

    def items(self):
        return list(self.seen)

    def fail(self):
        raise LookupError(self.name)

    def make(self, name):
        return Thing(name)


class Child:
    class deeper:
        value = "deep"

        @staticmethod
        def hello(name):
            return "hello " + name


def make(name):
    return Thing(name)


def names():
    gc.collect()
    return sorted(alive)


def is_thing(value):
    return isinstance(value, Thing)


def names_in(value):
    """References anywhere in an argument are the objects."""
    if isinstance(value, Thing):
        return [value.name]
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, (list, tuple)):
        return [name for part in value for name in names_in(part)]
    return []


def same(first, second):
    return first is second


async def make_later(name):
    return Thing(name)
