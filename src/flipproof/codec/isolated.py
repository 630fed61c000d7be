"""Decoders of third parties in a process of their own, where they may crash, hang or allocate.

Image libraries are large programs in C, and damaged files take them where nobody has been before. In a child process
the worst they can do is to end it: the caller gets a :class:`~flipproof.errors.DecodeError` that says how.

The child is a fresh interpreter, not a fork, so threads of the caller do not matter; it imports the decoder's module
and nothing else. It stays, and serves any number of files; one that was killed is replaced at the next call. What it
sends back is the size of a picture and its pixels, or a line of text, and is taken for nothing else.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from typing import cast

import numpy as np

from flipproof.codec.worker import MOST_TEXT, REPLY, REQUEST, Reply, widen
from flipproof.errors import DecodeError, ImageError, SpecError, WorkerError
from flipproof.image import RgbImage, check_size

__all__ = ["Isolated"]

_START_SECONDS = 60.0
_LEAN = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
    "PYTHONWARNINGS": "ignore",
}
"""No threads to compute with, and (glibc) no return of memory to the system after every picture: half the time."""
_CHILD = "import sys; from flipproof.codec.worker import serve; serve(*sys.argv[1:])"


class Isolated:
    """A decoder that runs in child processes, as many as there are calls at the same time.

    Objects may be shared by threads, and are inherited by forks, which then start children of their own. Idle children
    end with the object or the process, also if the process is killed.

    Arguments:
        function: The decoder: takes the bytes of a file and ``arguments``, returns an array (H, W, 3) of uint8. It must
            be importable by its name; modules that import quickly start quickly.
        arguments: Texts that the decoder gets after the file.
        seconds: Time that a decode may take. The start of a child does not count.
        mebibytes: Address space that a decode may take, on systems that can limit it (Linux); the reply of a decoder
            that gives up by itself for want of memory may be anything.

    Raises:
        SpecError: The function cannot be imported by its name, or a limit is not positive.

    Example:
        >>> from flipproof.codec.jpeg import JpegCodec, read_jpeg
        >>> read = Isolated(read_jpeg)
        >>> read(JpegCodec().encode(np.zeros((2, 3, 3), np.uint8))).shape
        (2, 3, 3)
        >>> read(b"no picture")
        Traceback (most recent call last):
        flipproof.errors.DecodeError: no JPEG header found
    """

    def __init__(
        self, function: Callable[..., RgbImage], *arguments: str, seconds: float = 10.0, mebibytes: int = 1024
    ) -> None:
        name = f"{function.__module__}:{function.__qualname__}"
        if function.__module__ == "__main__" or not function.__qualname__.isidentifier():
            raise SpecError(f"expected a function that a module has under its name, got {name}")
        if not (0 < seconds < math.inf and mebibytes >= 1):
            raise SpecError(f"expected positive limits, got {seconds} s and {mebibytes} MiB")
        self._seconds, self._mebibytes = seconds, mebibytes
        self._command = (name, str(seconds), str(mebibytes), *arguments)
        self._idle: deque[_Child] = deque()
        weakref.finalize(self, _end_all, self._idle)

    def __call__(self, data: bytes) -> RgbImage:
        """Decodes a file.

        Returns:
            Array with shape (H, W, 3), uint8.

        Raises:
            DecodeError: The decoder refused the file, crashed, or went over a limit.
            WorkerError: No child process could be started.
        """
        child = self._take()
        try:
            pixels = child.decode(data, self._seconds)
        except _Ended as ended:
            raise DecodeError(self._reason(ended)) from None
        except DecodeError:
            self._idle.append(child)
            raise
        except BaseException:
            child.end()
            raise
        self._idle.append(child)
        return pixels

    def _take(self) -> _Child:
        """Returns a child that waits for work."""
        with suppress(IndexError):
            while True:
                child = self._idle.pop()
                if child.alive:
                    return child
                child.end()
        return _Child(self._command)

    def _reason(self, ended: _Ended) -> str:
        if ended.expired:
            return f"the decoder took longer than {self._seconds:g} s"
        if ended.too_large:
            return f"the decoder needed more than {self._mebibytes} MiB"
        if ended.status < 0:
            return f"the decoder crashed (signal {-ended.status})"
        return f"the decoder ended (exit status {ended.status})"


class _Ended(Exception):
    """A child is no more: its exit status, and whether a limit ended it."""

    def __init__(self, status: int, expired: bool = False, too_large: bool = False) -> None:
        super().__init__(status, expired, too_large)
        self.status, self.expired, self.too_large = status, expired, too_large


class _Child:
    """One child process; of no use any more after :class:`_Ended`.

    Raises:
        WorkerError: It did not start.
    """

    def __init__(self, command: tuple[str, ...]) -> None:
        self._owner, self._expired = os.getpid(), False
        try:
            self._process = subprocess.Popen(
                [sys.executable or "", "-P", "-c", _CHILD, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for the parent, which then ends the child
            )
        except (OSError, ValueError) as error:
            raise WorkerError(f"expected to start a decoder process, got: {error}") from error
        self._input = cast("BufferedWriter", self._process.stdin)
        self._output = cast("BufferedReader", self._process.stdout)
        widen(self._output)
        try:
            self._await_ready()
        except BaseException:
            self.end()
            raise

    def _await_ready(self) -> None:
        try:
            with self._deadline(_START_SECONDS):
                kind, length, _ = REPLY.unpack(self._read(REPLY.size))
                text = self._text(min(length, MOST_TEXT))
        except _Ended as ended:
            raise WorkerError(f"expected a decoder process to start, got exit status {ended.status}") from None
        if kind != Reply.READY:
            raise WorkerError(f"expected a decoder process to start, got: {text}")

    @property
    def alive(self) -> bool:
        """Whether it can decode for this process."""
        return self._owner == os.getpid() and not self._expired and self._process.poll() is None

    def decode(self, data: bytes, seconds: float) -> RgbImage:
        """Decodes a file.

        Raises:
            DecodeError: The decoder refused it.
            _Ended: The child is no more.
        """
        with self._deadline(seconds):
            with suppress(BrokenPipeError):  # then reading says the same
                self._input.write(REQUEST.pack(len(data)))
                self._input.write(data)
                self._input.flush()
            kind, first, second = REPLY.unpack(self._read(REPLY.size))
            if kind == Reply.PICTURE:
                return self._picture(first, second)
            if kind == Reply.TOO_LARGE:
                raise _Ended(self.end(), too_large=True)
            if kind == Reply.REFUSED and first <= MOST_TEXT:
                raise DecodeError(self._text(first))
            self.end()
            raise DecodeError("the decoder sent an impossible reply")

    def end(self) -> int:
        """Kills the child unless it belongs to the process that this one was forked from; returns its exit status."""
        if self._owner == os.getpid():
            self._kill()
            self._process.wait()
        else:
            self._process.returncode = 0
        with suppress(BrokenPipeError):
            self._input.close()
        self._output.close()
        return self._process.returncode

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        """Kills the child when the time is over.

        Raises:
            _Ended: The child closed its output, then or before.
        """
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        except EOFError:
            raise _Ended(self._status(), self._expired) from None
        finally:
            timer.cancel()
            timer.join()

    def _expire(self) -> None:
        self._expired = True
        self._kill()

    def _kill(self) -> None:
        """Kills the child and all that it started: as leader of a session it has a process group of its own."""
        if sys.platform == "win32":
            self._process.kill()
        elif self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _status(self) -> int:
        """Returns the exit status of a child that closed its output."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return self.end()

    def _picture(self, height: int, width: int) -> RgbImage:
        try:
            check_size(height, width)
        except ImageError as error:
            self.end()
            raise DecodeError(str(error)) from error
        pixels = np.empty((height, width, 3), np.uint8)
        if self._output.readinto(pixels.data.cast("B")) < pixels.nbytes:
            raise EOFError
        return pixels

    def _text(self, length: int) -> str:
        text = self._read(length).decode(errors="replace").partition("\n")[0]
        return text or "the decoder refused the file"

    def _read(self, size: int) -> bytes:
        data = self._output.read(size)
        if len(data) < size:
            raise EOFError
        return data


def _environment() -> dict[str, str]:
    """Returns an environment in which the child finds the same modules."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109 (text is what is needed)
    return os.environ | _LEAN | {"PYTHONPATH": path}


def _end_all(children: deque[_Child]) -> None:
    while children:
        children.pop().end()
