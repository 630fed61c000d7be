"""Decoders that misbehave, to be run in processes of their own."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flipproof.errors import DecodeError

PIXEL = np.zeros((1, 1, 3), np.uint8)


def echo(data: bytes) -> NDArray[np.uint8]:
    """What a well-behaved one does: a picture of one row that holds the bytes."""
    return np.frombuffer(data.ljust(-(-len(data) // 3) * 3, b"\0"), np.uint8).reshape(1, -1, 3)


def misbehave(data: bytes, *arguments: str) -> NDArray[np.uint8]:
    """Does what the bytes name, and echoes other bytes."""
    deed = globals().get(f"do_{data.decode(errors='replace')}")
    return deed(*arguments) if deed else echo(data)


def do_abort() -> None:
    os.abort()


def do_segfault() -> None:
    ctypes.string_at(0)


def do_spin() -> None:
    while True:
        pass


def do_sleep() -> None:
    time.sleep(1000)


def do_note_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(1000)


def do_run_a_hanging_program(path: str) -> None:
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    Path(path).write_text(str(program.pid))
    program.wait()


def do_allocate() -> NDArray[np.uint8]:
    return np.ones((1 << 14, 1 << 14, 3), np.uint8)


def do_allocate_in_small_pieces() -> None:
    pieces = []
    while True:
        pieces.append(bytes(1 << 16))


def do_leave() -> None:
    os._exit(0)


def do_exit() -> None:
    sys.exit(3)


def do_refuse() -> None:
    raise DecodeError("not like this")


def do_refuse_silently() -> None:
    raise DecodeError("")


def do_refuse_at_length() -> None:
    raise DecodeError("ä" * 100_000)


def do_raise() -> None:
    raise ZeroDivisionError("first line\nsecond line")


def do_return_nothing() -> None:
    return None


def do_return_floats() -> NDArray[np.float64]:
    return np.zeros((1, 1, 3))


def do_return_gray() -> NDArray[np.uint8]:
    return np.zeros((1, 1), np.uint8)


def do_return_too_wide() -> NDArray[np.uint8]:
    return np.zeros((1, 1 << 14, 3), np.uint8)


def do_return_empty() -> NDArray[np.uint8]:
    return np.zeros((0, 1, 3), np.uint8)


def do_return_mirrored() -> NDArray[np.uint8]:
    return np.arange(6, dtype=np.uint8).reshape(1, 2, 3)[:, ::-1]


def do_print() -> NDArray[np.uint8]:
    print("text", flush=True)
    print("text", file=sys.stderr, flush=True)
    os.write(1, b"text")
    os.write(2, b"text")
    ctypes.CDLL(None).puts(b"text")
    return PIXEL


def do_read() -> NDArray[np.uint8]:
    return echo(sys.stdin.read().encode() + b"end")


def do_lie_about_the_length() -> None:
    _reply(struct.pack(">BII", 2, 2**32 - 1, 0) + b"text")


def do_lie_about_the_size() -> None:
    _reply(struct.pack(">BII", 1, 2**32 - 1, 2**32 - 1))


def do_lie_about_the_kind() -> None:
    _reply(struct.pack(">BII", 200, 4, 0) + b"text")


def do_send_half_a_picture() -> None:
    _reply(struct.pack(">BII", 1, 100, 100) + bytes(5000))


def do_tell_pid() -> NDArray[np.uint8]:
    return echo(os.getpid().to_bytes(6, "big"))


def do_tell_modules() -> NDArray[np.uint8]:
    return echo(" ".join(name for name in sys.modules if "." not in name).encode())


def do_tell_core_limit() -> NDArray[np.uint8]:
    import resource

    return echo(repr(resource.getrlimit(resource.RLIMIT_CORE)).encode())


def _reply(content: bytes) -> None:
    """Writes to every pipe there is, then leaves."""
    for number in range(3, 64):
        try:
            if stat.S_ISFIFO(os.fstat(number).st_mode):
                os.write(number, content)
        except OSError:
            continue
    os._exit(0)
