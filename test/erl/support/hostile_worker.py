#!/usr/bin/python3 -IS
"""A worker that means harm: what fake_worker.py does, and ways to lie that it does not know.

An environment variable of the configuration, HOSTILE_START, chooses what comes instead of READY.
"""

import os
import select
import signal
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from fake_worker import OUT, Atom, Worker, encode  # noqa: E402


def framed(kind, ident, payload=b"", flags=0):
    frame = struct.pack(">BBHQ", kind, flags, 0, ident) + payload
    return struct.pack(">I", len(frame)) + frame


class Hostile(Worker):
    mute = False
    defers = False
    status = None
    flood = None

    def start(self, config):
        mode = config["env"].get("HOSTILE_START", "")
        if mode == "garbage":
            os.write(OUT, bytes(range(256)) * 300)  # the first four announce a frame of 66,051 bytes
            signal.pause()
        elif mode == "truncated":
            os.write(OUT, struct.pack(">I", 100) + b"\x41")
            os.write(2, b"half a frame is all you get\n")
            os._exit(0)
        elif mode == "flood":
            while True:
                self.output(b"stderr", b"never ready", force=True)
        elif mode == "start_failed_bomb":
            self.send(0x42, 1, b"\x83P\x7f\xff\xff\xff" + b"x" * 100)
            signal.pause()
        elif mode == "start_failed_and_stay":
            self.send(0x42, 1, encode(b"no, but I stay"))
            signal.pause()
        elif mode == "nested_failure":
            self.send(0x42, 1, b"\x83" + b"t\x00\x00\x00\x01w\x02ok" * 2000 + b"a\x01")
            os._exit(1)
        elif mode == "long_failure":
            self.send(0x42, 1, b"\x83l" + struct.pack(">I", 2 << 20) + b"j" * (2 << 20) + b"j")
            os._exit(1)
        elif mode == "big_ready":
            self.send(0x41, 1, encode({Atom("version"): b"x" * 70000}))
            signal.pause()
        elif mode == "strange_ready":
            strange = {"version": b"x" * 5000, "python": [1], "prefix": b"/usr", "executable": 1, "calls": b"?"}
            self.send(0x41, 1, encode({Atom(key): value for key, value in strange.items()}))
        elif mode == "close":
            os.close(OUT)
            signal.pause()
        else:
            super().start(config)

    def frame(self, frame):
        if self.mute:
            return
        if self.defers:
            if frame[0] == 0x20:
                self.send(0x55, struct.unpack_from(">BBHQ", frame)[3], b"\x04")
        elif frame[0] == 0x23 and self.status is not None:
            self.send(0x53, struct.unpack_from(">BBHQ", frame)[3], self.status)
        elif frame[0] == 0x27 and self.flood is not None:
            self.pour(self.flood)
        else:
            super().frame(frame)

    def do_mute(self, ident, _flags):
        """READY and then silence: reads everything, answers nothing, not even STOP."""
        self.mute = True
        self.ok(ident, 1)

    def do_defer(self, ident, _flags):
        """Whoever is to stop stands behind somebody else's call, it says from now on, and says nothing else."""
        self.defers = True
        self.ok(ident, 1)

    def pour(self, megabytes):
        """Lines and PONGs in turn; bounded, in case nobody stops it."""
        pair = framed(0x60, 0, b"a line", 1) + framed(0x54, 12345)
        chunk = pair * ((1 << 18) // len(pair))
        for _ in range(4 * megabytes):
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(OUT, rest):]
        signal.pause()

    def do_flood_at_dump(self, ident, _flags, megabytes):
        self.flood = megabytes
        self.ok(ident, 1)

    def do_status(self, ident, _flags, payload, times):
        self.status = payload * times
        self.ok(ident, 1)

    def do_nest_error(self, ident, _flags, depth):
        self.send(0x51, ident, b"\x83" + b"t\x00\x00\x00\x01w\x02ok" * depth + b"a\x01")

    def do_print_fast(self, ident, _flags, lines, seconds):
        """Minds its credit, but not the rate."""
        end, printed = time.monotonic() + seconds, 0
        while printed < lines and time.monotonic() < end:
            while select.select([self.fd], [], [], 0 if self.credit > 0 else 0.05)[0]:
                self.buffer += os.read(self.fd, 1 << 20)
                self.credits()
            while self.credit > 0:
                self.output(b"stdout", b"a line")
                printed += 1
        self.ok(ident, printed)

    def do_cancel_flood(self, ident, _flags, pairs):
        """Does not read any more; the first answers fill the pipe, then come calls that are cancelled at once."""
        self.ok(ident, 1)
        long = encode((Atom("call"), b"n" * 60000, []))
        for callback in range(1, 60):
            self.send_callback(callback, 0, 0, b"", long)
        for callback in range(1000, 1000 + pairs):
            self.send_callback(callback, 0, 0, b"", encode((Atom("self"),)))
            self.send(0x62, callback)
            time.sleep(0.001)  # for the job to end before too many are open
        signal.pause()

    def do_forge_and_die(self, _ident, _flags, number):
        """Writes a report of its own, and ends the launcher, which would write a better one."""
        launcher = os.getppid()
        folder = f"/proc/{launcher}/fd/"
        fd = [os.open(folder + name, os.O_RDWR) for name in os.listdir(folder) if "report" in os.readlink(folder + name)][0]
        os.pwrite(fd, b"py_launcher 1\nstatus exited 0\nmessage 0\n\nstack 5\nlies!\nstdout 0\n\nstderr 6\nforged\n", 0)
        os.kill(launcher, number)

    def do_close_output(self, _ident, _flags):
        os.close(OUT)
        self.mute = True

    def do_truncate(self, _ident, _flags, status):
        os.write(OUT, struct.pack(">I", 1 << 20) + b"\x50" * 1000)
        os._exit(status)

    def do_announce(self, _ident, _flags, size):
        """The head of a frame that never comes."""
        os.write(OUT, struct.pack(">I", size) + b"\x50" * 1000)

    def do_big(self, _ident, _flags, size):
        self.send(0x50, 1, b"x" * size)

    def do_handle(self, ident, _flags, handle):
        self.send(0x52, ident, struct.pack(">Q", handle))

    def do_as(self, ident, _flags, kind, payload):
        """Answers this very call with a frame of another kind."""
        self.send(kind, ident, payload)


if __name__ == "__main__":
    Hostile().run()
