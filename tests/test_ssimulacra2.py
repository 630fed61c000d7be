from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from scipy.signal import lfilter

from conftest import photograph
from flipproof.errors import ImageError
from flipproof.metric.ssimulacra2 import SMALLEST, _window, ssimulacra2


def noisy(picture, deviation):
    noise = np.random.default_rng(1).normal(0, deviation, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


DAMAGE = {
    "noise 3": lambda picture: noisy(picture, 3),
    "noise 25": lambda picture: noisy(picture, 25),
    "steps": lambda picture: picture // 24 * 24 + 12,
    "blur": lambda picture: uniform_filter(picture, (5, 5, 0)),
    "blocks": lambda picture: np.kron(picture[::4, ::4], np.ones((4, 4, 1), np.uint8))[: len(picture)],
    "shift": lambda picture: np.roll(picture, 2, axis=1),
    "colours": lambda picture: picture[:, :, [1, 0, 2]],
    "darker": lambda picture: (picture * 0.8).astype(np.uint8),
}
SIZES = ((240, 320), (128, 128), (60, 16), (8, 12))
SCORES = {
    "noise 3": (81.4899, 85.5199, 88.4339, 96.1897),
    "noise 25": (-36.9009, -2.2515, 41.2360, 83.6669),
    "steps": (43.4578, 57.2841, 75.5401, 93.2388),
    "blur": (66.7693, 57.3734, 75.9439, 87.9053),
    "blocks": (-26.4551, -5.9163, 61.7136, 79.5054),
    "shift": (26.4616, 19.5247, 68.6409, 76.4767),
    "colours": (-47.7427, -51.3754, 48.0675, 81.4468),
    "darker": (30.9658, 22.2788, 91.2458, 95.9752),
}
"""What the tool ssimulacra2 of libjxl 0.11.2 gives, by size."""

PAIRS = [f"{damage} {height}x{width}" for damage in DAMAGE for height, width in SIZES]


def pair(name):
    damage, _, size = name.rpartition(" ")
    picture = photograph(*map(int, size.split("x")))
    return DAMAGE[damage](picture), picture


@pytest.mark.parametrize("name", PAIRS)
def test_scores_are_those_of_the_tool(name):
    """Its recursive filter in float32 gathers rounding errors, which small pictures have little of."""
    damaged, picture = pair(name)
    index = PAIRS.index(name) % len(SIZES)
    expected = SCORES[name.rpartition(" ")[0]][index]
    assert ssimulacra2(damaged, picture) == pytest.approx(expected, abs=0.1 if index < 2 else 0.015)


def test_the_window_is_what_the_recursion_answers():
    """Three resonators, each fed with the samples that enter and leave, as in equation 35 of Charalampidis."""
    frequencies = np.array([1, 3, 5]) * np.pi / 10
    window = np.array(_window())
    shares = np.linalg.lstsq(np.cos(np.outer(np.arange(-4, 5), frequencies)), window, rcond=None)[0]
    pulse = np.zeros(40)
    pulse[10], pulse[20] = 1, 1
    answer = sum(
        lfilter([-share * np.cos(6 * frequency)], [1, -2 * np.cos(frequency), 1], pulse)
        for share, frequency in zip(shares, frequencies, strict=True)
    )
    np.testing.assert_allclose(answer[10:19], window, atol=1e-12)
    np.testing.assert_allclose(answer[19:], 0, atol=1e-12)
    assert window.sum() == pytest.approx(1)
    assert window @ np.arange(-4, 5) ** 2 == pytest.approx(1.5**2)


def test_scores_keep_to_their_range_and_order():
    picture = photograph(96, 100)
    assert ssimulacra2(picture, picture) == 100
    scores = [ssimulacra2(noisy(picture, deviation), picture) for deviation in (1, 4, 16, 64)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] < 100
    assert ssimulacra2(noisy(picture, 30)[::-1], picture[::-1]) == ssimulacra2(
        noisy(picture, 30)[::-1].copy(), picture[::-1].copy()
    )


def test_pictures_that_do_not_fit_are_refused():
    picture = photograph(SMALLEST, 20)
    assert ssimulacra2(picture, picture) == 100
    for other in (picture[:, :-1], picture.astype(float), picture[:, :, 0]):
        with pytest.raises(ImageError, match="expected two uint8 pictures of one shape, got"):
            ssimulacra2(other, picture)
    with pytest.raises(ImageError, match="sides of at least 8, got"):
        ssimulacra2(picture[1:], picture[1:])
