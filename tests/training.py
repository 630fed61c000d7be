"""What the tests of training programs share."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from conftest import photograph
from flipproof.train import loop
from flipproof.train.pairs import Pair, Pairs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time by steps, a second each: schedules do not depend on the machine."""
    times = iter(second for step in range(10**6) for second in (step, step + 1))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(times))))


@pytest.fixture
def pairs() -> Pairs:
    """Two photographs: chains to each that end without noise, and with the finest detail missing."""
    made = []
    for seed in (0, 1):
        photo = photograph(96, 112, seed)
        whole = torch.tensor(photo).permute(2, 0, 1) / 127.5 - 1
        states = whole.half().numpy(), functional.avg_pool2d(whole, 2).half().numpy()
        made.append(Pair(photo, states, np.array([0.04, 0.3], np.float32)))
    return Pairs(tuple(made))
