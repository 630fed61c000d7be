"""What the tests of training programs share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flipproof.train import loop


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time by steps, a second each: schedules do not depend on the machine."""
    times = iter(second for step in range(10**6) for second in (step, step + 1))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(times))))
