"""Pairs of photographs and ends of chains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from conftest import photograph
from flipproof.codec.target import to_picture
from flipproof.codec.tracks import TracksCodec
from flipproof.errors import ImageError, WeightsError
from flipproof.metric.psnr import psnr
from flipproof.reconstruction import picture
from flipproof.schedule import Level
from flipproof.seeds import generator
from flipproof.train.checkpoint import write_tensors
from flipproof.train.data import PhotoSet
from flipproof.train.pairs import Pair, PairRecipe, Pairs, make_pairs
from flipproof.train.pyramid import Pyramid
from training import pairs  # noqa: F401 (a fixture)

PAIRS = PairRecipe(crops=2, sizes=(64, 48), rates=2, lowest=0.6, highest=2.0, damaged=0.5)
CODEC = TracksCodec(protect="none")


@pytest.fixture
def photos():
    return PhotoSet(((photograph(100, 120),), (photograph(70, 80, 1), photograph(64, 64, 2))))


def test_pairs_are_made_once(photos, tmp_path):
    done = []
    make_pairs(PAIRS, photos, CODEC, tmp_path, done.append)
    assert done == [0, 1]
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "000001.safetensors").unlink()
    kept = (tmp_path / "000000.safetensors").stat().st_mtime_ns
    make_pairs(PAIRS, photos, CODEC, tmp_path, done.append)
    assert (tmp_path / "000000.safetensors").stat().st_mtime_ns == kept
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    loaded = Pairs.load(tmp_path)
    assert {pair.original.shape for pair in loaded.pairs} == {(64, 64, 3), (48, 48, 3)}
    for pair in loaded.pairs:
        sides = pair.original.shape[:2]
        assert {state.shape[1:] for state in pair.states} <= {sides, (sides[0] // 2, sides[1] // 2)}
        first, second = (
            sigma * sides[0] / state.shape[1] for sigma, state in zip(pair.sigma, pair.states, strict=True)
        )
        assert first > second  # more bits, less noise


def test_the_states_of_pairs_are_those_that_decoders_meet(photos, tmp_path):
    """What the prior makes of them are the pictures that the files decode to."""
    recipe = replace(PAIRS, crops=1, damaged=0)
    make_pairs(recipe, photos, CODEC, tmp_path, lambda index: None)
    (pair,) = Pairs.load(tmp_path).pairs
    rng = generator(purpose="pairs", seed=recipe.seed, index=0)
    Pyramid(photos, 64).draw(1, rng)
    for rate, state, sigma in zip(recipe.rates_of(rng), pair.states, pair.sigma, strict=True):
        shown = CODEC.with_rate(float(rate)).decode(CODEC.with_rate(float(rate)).encode(pair.original)).picture
        level = Level(64 // state.shape[1], float(sigma))
        again = to_picture(picture(CODEC.denoiser, torch.tensor(state)[None].float(), level)[0])
        assert psnr(again, shown) > 45


def test_every_photograph_is_taken_before_any_is_taken_twice(photos, tmp_path):
    make_pairs(replace(PAIRS, crops=2, sizes=(64,), rates=1), photos, CODEC, tmp_path, lambda index: None)
    one, other = (pair.original for pair in Pairs.load(tmp_path).pairs)
    assert not np.array_equal(one, other)


def test_rates_spread_over_their_range():
    rates = PairRecipe(rates=3, lowest=0.01, highest=10).rates_of(np.random.default_rng(0))
    assert (np.diff(rates) > 0).all()
    assert np.floor(np.log10(rates)).tolist() == [-2, -1, 0]


def test_what_holds_no_pairs_says_so(tmp_path):
    with pytest.raises(ImageError, match="got none"):
        Pairs.load(tmp_path)
    write_tensors(tmp_path / "0.safetensors", {"original": torch.zeros(1)})
    with pytest.raises(WeightsError, match="got no 'sigma'"):
        Pairs.load(tmp_path)


def test_patches_lie_alike_in_both_pictures(pairs):  # noqa: F811
    batch = pairs.draw(16, 64, np.random.default_rng(0))
    assert batch.original.shape == batch.y.shape == (16, 3, 64, 64)
    assert set(batch.missing.tolist()) == {0, 1}
    for original, y, sigma, missing in zip(batch.original, batch.y, batch.sigma, batch.missing, strict=True):
        seen = (
            functional.avg_pool2d(original, 2).repeat_interleave(2, 1).repeat_interleave(2, 2) if missing else original
        )
        assert torch.allclose(y, seen, atol=2e-3)
        assert sigma == pytest.approx(0.3 if missing else 0.04)
    assert len({patch.numpy().tobytes() for patch in batch.original}) > 8


def test_patches_are_spread_over_all_pixels():
    """Nine times the pixels are drawn nine times as often; beyond 4.4 deviations once in 1e5."""
    crops = [np.full((side, side, 3), level, np.uint8) for side, level in ((32, 0), (96, 255))]
    states = [np.zeros((3, *crop.shape[:2]), np.float16) for crop in crops]
    both = Pairs(tuple(Pair(crop, (state,), np.ones(1, np.float32)) for crop, state in zip(crops, states, strict=True)))
    large = (both.draw(1000, 16, np.random.default_rng(0)).original[:, 0, 0, 0] > 0).sum().item()
    assert abs(large - 900) < 4.4 * np.sqrt(1000 * 0.9 * 0.1)
