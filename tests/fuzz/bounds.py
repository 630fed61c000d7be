"""What a call may take of time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["bounded", "peak"]

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def bounded(seconds: float, mebibytes: float) -> Iterator[None]:
    """Fails where a block takes longer, or grows the process by more while it runs (Linux)."""
    before, start = peak(reset=True), time.process_time()
    yield
    took, grown = time.process_time() - start, (peak() - before) / 2**20
    assert took <= seconds, f"{took:.1f} s"
    assert grown <= mebibytes, f"{grown:.0f} MiB"


def peak(reset: bool = False) -> int:
    """Returns the most bytes of memory in use since the last reset; 0 where the system does not tell."""
    try:
        if reset:
            _RESET.write_text("5")
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
