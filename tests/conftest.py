from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray

settings.register_profile("flipproof", deadline=None)  # a busy machine is no failure
settings.load_profile("flipproof")


def photograph(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture with soft shading, an edge, a disc and some grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    base = np.stack([0.2 + 0.6 * x, 0.3 + 0.5 * y, 0.7 - 0.4 * x * y], axis=-1)
    base[(x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.05] = (0.9, 0.6, 0.3)
    base[y > 0.8] *= 0.4
    grain = rng.normal(0, 0.02, base.shape)
    return (255 * np.clip(base + grain, 0, 1)).astype(np.uint8)


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    return photograph(96, 128)


@pytest.fixture(autouse=True)
def _threads():
    """Leaves PyTorch the threads it had: on others, bfloat16 rounds otherwise."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
