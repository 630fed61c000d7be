"""The child process behind :mod:`flipproof.codec.isolated`: decodes pictures for its parent until its input ends.

Requests come on standard input, replies go to standard output:

    request  8 bytes  length of the file
             ...      the file
    reply    1 byte   kind, see :class:`Reply`
             4 bytes  height of the picture, or length of the text
             4 bytes  width of the picture, or 0
             ...      pixels, or text in UTF-8

All numbers are big-endian. The first reply comes without a request, once the decoder is imported. What the decoder
itself prints goes nowhere: it gets other files as its standard streams.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from flipproof.errors import DecodeError
from flipproof.image import RgbImage

__all__ = ["MOST_TEXT", "REPLY", "REQUEST", "Reply", "serve", "widen"]

REQUEST = struct.Struct(">Q")
REPLY = struct.Struct(">BII")
MOST_TEXT = 1000
PIPE_BYTES = 2**20
ORPHAN_SECONDS = 5
"""How much longer than its parent waits for it a child goes on; then the parent is no more."""


class Reply(IntEnum):
    """What a reply says."""

    READY = 0
    PICTURE = 1
    REFUSED = 2
    TOO_LARGE = 3


def serve(name: str, seconds: str, mebibytes: str, *arguments: str) -> None:
    """Answers requests until there are no more.

    Arguments:
        name: The decoder, as ``module:function``.
        seconds: What a decode may take.
        mebibytes: Address space that decoders may take beyond what the interpreter has by now.
        arguments: What the decoder gets after the file.
    """
    requests, replies = _private_streams()
    try:
        module, _, function = name.partition(":")
        decoder: Callable[..., RgbImage] = getattr(import_module(module), function)
    except Exception as error:
        _send(replies, Reply.REFUSED, _line(error))
        return
    _limit(int(mebibytes))
    _send(replies, Reply.READY, "ready")
    try:
        while header := requests.read(REQUEST.size):
            _alarm(float(seconds) + ORPHAN_SECONDS)
            _answer(replies, decoder, requests.read(*REQUEST.unpack(header)), arguments)
            _alarm(0)
    except MemoryError:
        _send(replies, Reply.TOO_LARGE, "")


def _answer(replies: BinaryIO, decoder: Callable[..., RgbImage], data: bytes, arguments: tuple[str, ...]) -> None:
    """Decodes a file and replies; a decoder without memory is not asked again, so that error goes on."""
    try:
        pixels = _checked(decoder(data, *arguments))
    except MemoryError:
        raise
    except DecodeError as error:
        _send(replies, Reply.REFUSED, str(error))
    except Exception as error:
        _send(replies, Reply.REFUSED, _line(error))
    else:
        replies.write(REPLY.pack(Reply.PICTURE, *pixels.shape[:2]))
        replies.write(pixels.data.cast("B"))
        replies.flush()


def _checked(pixels: RgbImage) -> RgbImage:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise DecodeError(f"expected a picture (H, W, 3) of uint8, got {pixels.dtype} {pixels.shape}")
    return np.ascontiguousarray(pixels)


def _send(replies: BinaryIO, kind: Reply, text: str) -> None:
    content = text.encode(errors="replace")[:MOST_TEXT]
    replies.write(REPLY.pack(kind, len(content), 0) + content)
    replies.flush()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def widen(pipe: IO[bytes]) -> None:
    """Makes a pipe hold more, where the system can: fewer switches between the two processes."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Returns what was standard input and output, and puts the null device in their place."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    return requests, replies


def _limit(mebibytes: int) -> None:
    """Limits address space, where the system can, and forbids core dumps."""
    if sys.platform == "win32":
        return
    import resource

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (mebibytes << 20)
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _alarm(seconds: float) -> None:
    """Ends this process after some time even within a decoder that never returns; 0 calls that off."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)
