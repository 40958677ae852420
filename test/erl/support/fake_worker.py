#!/usr/bin/python3 -IS
"""A worker without CPython's embedding: speaks docs/protocol.md from a script, well or badly, as it is told.

The Erlang side is tested with it where a real worker would be too well-behaved. Start it through the option `worker`; the
launcher is the real one. What it does is decided by the function that is called (module `fake`):

    echo(X)            answers X                            add(A, B)       answers A + B
    sleep(Ms)          answers `ok` later; CANCEL ends it   stuck()         never answers, ignores CANCEL
    block(Ms)          stops reading for so long            deaf()          stops reading for ever
    die(Signal)        ends by a signal                     exit(Status)    ends with a status
    print(Stream, Text)                                     flood(N)        prints N lines, minding its credit
    overdraw(N)        prints N lines, credit or not        raw(Bytes...)   sends each as one frame
    python(Type, Msg)  answers {python, ...}                twice()         answers twice
    big(N)             answers N bytes
    answer(Bytes)      OK with this payload                 log()           the CANCEL, RELEASE, ... seen so far
    header()           answers {Parent, Deadline} of the request
    call_back(Id, Deadline, Trace, Term)  sends a CALLBACK that descends from the request, and answers {Kind, Payload} of its answer
    callback(Id, Parent, Term)  sends a CALLBACK and answers `ok`; answer_of(Id) answers {Kind, Payload} when there is one
    cancel_callback(Id)         answers_so_far()  how many answers to CALLBACKs came
    noisy_exit(S, Text)  writes Text into its stderr pipe and exits with status S

An environment variable of the configuration, FAKE_START, changes the start: silent, bad_ready, bad_version, refuse,
exit, print, frame_before_ready, hang_init.
"""

import heapq
import json
import os
import select
import signal
import struct
import sys
import time

IN, OUT, CRASH = 3, 4, 5


class Atom(str):
    pass


def decode(data, at=1):
    """One term after its version byte: the kinds that the tests send."""
    tag, at = data[at], at + 1
    if tag == 97:
        return data[at], at + 1
    if tag == 98:
        return struct.unpack_from(">i", data, at)[0], at + 4
    if tag in (110, 111):
        n = data[at] if tag == 110 else struct.unpack_from(">I", data, at)[0]
        at += 1 if tag == 110 else 4
        value = int.from_bytes(data[at + 1:at + 1 + n], "little")
        return (-value if data[at] else value), at + 1 + n
    if tag == 70:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if tag in (100, 118, 115, 119):
        n = struct.unpack_from(">H", data, at)[0] if tag in (100, 118) else data[at]
        at += 2 if tag in (100, 118) else 1
        return Atom(data[at:at + n].decode()), at + n
    if tag == 109:
        n = struct.unpack_from(">I", data, at)[0]
        return bytes(data[at + 4:at + 4 + n]), at + 4 + n
    if tag == 107:
        n = struct.unpack_from(">H", data, at)[0]
        return list(data[at + 2:at + 2 + n]), at + 2 + n
    if tag == 106:
        return [], at
    if tag in (104, 105):
        n = data[at] if tag == 104 else struct.unpack_from(">I", data, at)[0]
        return tuple_of(data, at + (1 if tag == 104 else 4), n)
    if tag == 108:
        n = struct.unpack_from(">I", data, at)[0]
        items, at = tuple_of(data, at + 4, n)
        _, at = decode(data, at)
        return list(items), at
    if tag == 116:
        n = struct.unpack_from(">I", data, at)[0]
        flat, at = tuple_of(data, at + 4, 2 * n)
        return dict(zip(flat[::2], flat[1::2])), at
    raise ValueError(f"tag {tag}")


def tuple_of(data, at, n):
    items = []
    for _ in range(n):
        item, at = decode(data, at)
        items.append(item)
    return tuple(items), at


def encode(value):
    return b"\x83" + body(value)


def body(value):
    if isinstance(value, bool):
        return body(Atom("true" if value else "false"))
    if isinstance(value, Atom):
        raw = value.encode()
        return bytes([119, len(raw)]) + raw
    if isinstance(value, int):
        n = (value.bit_length() + 7) // 8
        return bytes([111]) + struct.pack(">IB", n, value < 0) + abs(value).to_bytes(n, "little")
    if isinstance(value, float):
        return bytes([70]) + struct.pack(">d", value)
    if isinstance(value, bytes):
        return bytes([109]) + struct.pack(">I", len(value)) + value
    if isinstance(value, str):
        return body(value.encode())
    if isinstance(value, tuple):
        return bytes([105]) + struct.pack(">I", len(value)) + b"".join(map(body, value))
    if isinstance(value, list):
        if not value:
            return bytes([106])
        return bytes([108]) + struct.pack(">I", len(value)) + b"".join(map(body, value)) + bytes([106])
    if isinstance(value, dict):
        flat = b"".join(body(k) + body(v) for k, v in value.items())
        return bytes([116]) + struct.pack(">I", len(value)) + flat
    raise TypeError(type(value))


def python_error(kind, message):
    return (Atom("python"), {
        Atom("type"): kind, Atom("module"): "builtins", Atom("message"): message,
        Atom("traceback"): [{Atom("file"): "fake.py", Atom("line"): 1, Atom("function"): "f", Atom("source"): ""}],
        Atom("cause"): Atom("none"), Atom("context"): Atom("none"), Atom("notes"): [],
        Atom("formatted"): kind + ": " + message,
    })


class Worker:
    def __init__(self):
        self.buffer = bytearray()
        self.credit = 0
        self.dropped = 0
        self.timers = []  # (when, id)
        self.sleeping = set()
        self.stuck = set()
        self.objects = {}
        self.next_handle = 1
        self.log = []
        self.answers = {}  # of CALLBACKs: id -> (kind, payload)
        self.answer_count = 0
        self.waiting = {}  # id of a CALLBACK -> request that waits for its answer
        self.fd = IN
        self.stopping = False

    # frames -------------------------------------------------------------------------------------------------------

    def send(self, kind, ident, payload=b"", flags=0):
        self.send_raw(struct.pack(">BBHQ", kind, flags, 0, ident) + payload)

    def send_raw(self, frame):
        data = struct.pack(">I", len(frame)) + frame
        while data:
            data = data[os.write(OUT, data):]

    def ok(self, ident, value):
        self.send(0x50, ident, encode(value))

    def output(self, stream, line, force=False):
        if self.credit <= 0 and not force:
            self.dropped += 1
            return
        self.credit -= 1
        dropped, self.dropped = self.dropped, 0
        self.send(0x60, dropped, line, 2 if stream == b"stderr" else 1)

    # the loop -----------------------------------------------------------------------------------------------------

    def run(self):
        while True:
            timeout = max(0, self.timers[0][0] - time.monotonic()) if self.timers else None
            ready, _, _ = select.select([self.fd], [], [], timeout)
            now = time.monotonic()
            while self.timers and self.timers[0][0] <= now:
                _, ident = heapq.heappop(self.timers)
                if ident in self.sleeping:
                    self.sleeping.discard(ident)
                    self.ok(ident, Atom("ok"))
            if ready:
                chunk = os.read(self.fd, 1 << 20)
                if not chunk:
                    os._exit(0)
                self.buffer += chunk
                self.frames()
            if self.stopping and not self.sleeping:
                os._exit(0)

    def frames(self):
        at = 0
        while len(self.buffer) - at >= 4:
            size = struct.unpack_from(">I", self.buffer, at)[0]
            if len(self.buffer) - at < 4 + size:
                break
            frame = bytes(self.buffer[at + 4:at + 4 + size])
            at += 4 + size
            self.frame(frame)
        del self.buffer[:at]

    def frame(self, frame):
        kind, flags, _, ident = struct.unpack_from(">BBHQ", frame)
        if kind == 0x01:
            self.start(json.loads(frame[12:]))
        elif 0x10 <= kind < 0x20:
            at = 28
            if flags & 1:
                at += 2 + struct.unpack_from(">H", frame, 28)[0]
            self.parent, deadline = struct.unpack_from(">QQ", frame, 12)
            self.deadline = deadline
            self.request(kind, flags, ident, deadline, frame[at:])
        elif kind in (0x30, 0x31):
            self.answer_count += 1
            self.answers.setdefault(ident, (kind, frame[12:]))
            if ident in self.waiting:
                self.ok(self.waiting.pop(ident), self.answers.pop(ident))
        elif kind == 0x20:
            self.log.append(("cancel", ident))
            if ident in self.sleeping:
                self.sleeping.discard(ident)
                self.send(0x55, ident, b"\x01")
        elif kind == 0x21:
            running = sorted(self.sleeping)
            for ident2 in running[:1]:
                self.sleeping.discard(ident2)
                self.send(0x51, ident2, encode(Atom("interrupted")))
            self.send(0x53, ident, encode(Atom("ok" if running else "not_running")))
        elif kind == 0x22:
            self.send(0x54, ident)
        elif kind == 0x23:
            self.send(0x53, ident, encode({Atom("queued"): 0, Atom("running"): len(self.sleeping)}))
        elif kind == 0x24:
            self.log.append(("release", ident))
            self.objects.pop(ident, None)
        elif kind == 0x25:
            self.credit += ident
        elif kind == 0x26:
            self.stopping = True
        elif kind == 0x27:
            os.write(CRASH, b"Thread fake (most recent call first):\n  File \"fake.py\", line 1 in stuck\n")
            self.send(0x53, ident, encode(Atom("ok")))

    def start(self, config):
        self.config = config
        self.credit = config["output"]["credit"]
        mode = config["env"].get("FAKE_START", "")
        ready = {Atom("os_pid"): os.getpid(), Atom("python"): "3.fake", Atom("executable"): sys.executable,
                 Atom("prefix"): sys.prefix, Atom("version"): "3.fake"}
        if mode == "silent":
            return
        if mode == "refuse":
            self.send(0x42, 0, encode(python_error("ValueError", "init said no")))
            os._exit(1)
        if mode == "exit":
            os.write(2, b"cannot find anything\n")
            os._exit(7)
        if mode == "hang_init":
            self.output(b"stderr", b"still trying")
            return
        if mode == "bad_ready":
            self.send(0x41, 1, b"\x83P\x00\x00")
            return
        if mode == "bad_version":
            self.send(0x41, 2, encode(ready))
            return
        if mode == "frame_before_ready":
            self.send(0x50, 1, encode(1))
            return
        if mode == "print":
            self.output(b"stdout", b"hello from init")
        self.send(0x41, 1, encode(ready))

    def request(self, kind, flags, ident, deadline, payload):
        if deadline and time.clock_gettime_ns(time.CLOCK_MONOTONIC) > deadline:
            self.send(0x55, ident, b"\x02")
            return
        if kind in (0x13, 0x14, 0x15):
            self.on_object(kind, flags, ident, payload)
            return
        if kind != 0x10:
            self.ok(ident, Atom("ok"))
            return
        if payload.find(b"echo_bytes", 0, 40) >= 0:
            # {fake, echo_bytes, [Term], #{}}: the bytes of Term as they came, whatever they are
            start = payload.index(b"echo_bytes") + 10
            self.send(0x50, ident, b"\x83" + payload[start + 5:-6])
            return
        (_, function, args, _), _ = decode(payload)
        name = function.decode() if isinstance(function, bytes) else function
        getattr(self, "do_" + name)(ident, flags, *args)

    def value(self, ident, flags, value):
        if flags & 2:
            handle = self.next_handle
            self.next_handle += 1
            self.objects[handle] = value
            self.send(0x52, ident, struct.pack(">Q", handle))
        else:
            self.ok(ident, value)

    def on_object(self, kind, flags, ident, payload):
        # The owner's pid needs no understanding: incarnation and handle are found behind it.
        handle = None
        for candidate in self.objects:
            if body_int(candidate) in payload:
                handle = candidate
        if handle is None:
            self.send(0x51, ident, encode((Atom("bad_ref"), b"released")))
        else:
            self.value(ident, flags, self.objects[handle])

    # what can be asked for ----------------------------------------------------------------------------------------

    def do_echo(self, ident, flags, x):
        self.value(ident, flags, x)

    def do_add(self, ident, flags, a, b):
        self.value(ident, flags, a + b)

    def do_sleep(self, ident, _flags, ms):
        self.sleeping.add(ident)
        heapq.heappush(self.timers, (time.monotonic() + ms / 1000, ident))

    def do_late_ref(self, ident, flags, ms):
        time.sleep(ms / 1000)
        self.value(ident, flags, 1)

    def do_stuck(self, ident, _flags):
        self.stuck.add(ident)

    def do_block(self, ident, _flags, ms):
        time.sleep(ms / 1000)
        self.ok(ident, Atom("ok"))

    def do_deaf(self, _ident, _flags):
        signal.pause()

    def do_die(self, _ident, _flags, number):
        signal.signal(number, signal.SIG_DFL) if number not in (9, 19) else None
        os.kill(os.getpid(), number)

    def do_exit(self, _ident, _flags, status):
        os._exit(status)

    def do_header(self, ident, _flags):
        self.ok(ident, (self.parent, self.deadline))

    def send_callback(self, callback, parent, deadline, trace, payload):
        head = struct.pack(">BBHQQQ", 0x61, 1 if trace else 0, 0, callback, parent, deadline)
        self.send_raw(head + (struct.pack(">H", len(trace)) + trace if trace else b"") + payload)

    def do_call_back(self, ident, _flags, callback, deadline, trace, payload):
        self.waiting[callback] = ident
        self.send_callback(callback, ident, deadline, trace, payload)

    def do_callback(self, ident, _flags, callback, parent, payload):
        self.send_callback(callback, parent, 0, b"", payload)
        self.ok(ident, Atom("ok"))

    def do_callbacks(self, ident, _flags, first, last, payload):
        for callback in range(first, last + 1):
            self.send_callback(callback, 0, 0, b"", payload)
        self.ok(ident, Atom("ok"))

    def do_answer_of(self, ident, _flags, callback):
        if callback in self.answers:
            self.ok(ident, self.answers.pop(callback))
        else:
            self.waiting[callback] = ident

    def do_answers_so_far(self, ident, _flags):
        self.ok(ident, self.answer_count)

    def do_cancel_callback(self, ident, _flags, callback):
        self.send(0x62, callback)
        self.ok(ident, Atom("ok"))

    def do_noisy_exit(self, _ident, _flags, status, text):
        os.write(2, text)
        os._exit(status)

    def do_print(self, ident, _flags, stream, text):
        self.output(stream, text)
        self.ok(ident, Atom("ok"))

    def do_flood(self, ident, _flags, n):
        for i in range(n):
            self.output(b"stdout", b"line %d" % i)
            if i % 64 == 0:
                while select.select([self.fd], [], [], 0)[0]:
                    chunk = os.read(self.fd, 1 << 20)
                    self.buffer += chunk
                    self.credits()
        self.ok(ident, Atom("ok"))

    def credits(self):
        """Takes CREDIT frames out of the buffer while a request is being worked on."""
        rest, at = bytearray(), 0
        while len(self.buffer) - at >= 4:
            size = struct.unpack_from(">I", self.buffer, at)[0]
            if len(self.buffer) - at < 4 + size:
                break
            if self.buffer[at + 4] == 0x25:
                self.credit += struct.unpack_from(">Q", self.buffer, at + 8)[0]
            else:
                rest += self.buffer[at:at + 4 + size]
            at += 4 + size
        self.buffer[:at] = rest

    def do_overdraw(self, _ident, _flags, n):
        for i in range(n):
            self.output(b"stdout", b"line %d" % i, force=True)

    def do_raw(self, _ident, _flags, *frames):
        for frame in frames:
            self.send_raw(frame)

    def do_big(self, ident, _flags, size):
        self.ok(ident, b"x" * size)

    def do_answer(self, ident, _flags, payload):
        self.send(0x50, ident, payload)

    def do_twice(self, ident, _flags):
        self.ok(ident, 1)
        self.ok(ident, 1)

    def do_python(self, ident, _flags, kind, message):
        self.send(0x51, ident, encode(python_error(kind.decode(), message.decode())))

    def do_error(self, ident, _flags, payload):
        self.send(0x51, ident, payload)

    def do_log(self, ident, _flags):
        self.ok(ident, [(Atom("ok"), name.encode(), number) for name, number in self.log])

    def do_env(self, ident, _flags):
        self.ok(ident, {k.encode(): v.encode() for k, v in os.environ.items()})

    def do_config(self, ident, _flags):
        self.ok(ident, json.dumps(self.config))


def body_int(n):
    """How erlang writes a small integer."""
    return bytes([97, n]) if n < 256 else bytes([98]) + struct.pack(">i", n)


if __name__ == "__main__":
    Worker().run()
