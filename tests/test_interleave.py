from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chances import likely
from flipproof.errors import SpecError
from flipproof.protection.circular import combine, repeat
from flipproof.protection.interleave import LONGEST, deinterleave, interleave, permutation
from flipproof.seeds import derive


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(0, 70), st.integers(0, 2**32))
def test_circular_buffers_add_up_what_they_repeat(period, size, seed):
    words = np.random.default_rng(seed).integers(0, 2, (2, period), dtype=np.uint8)
    sums = combine(1 - 2 * repeat(words, size).astype(np.float32), period)
    turns = size // period + (np.arange(period) < size % period)
    assert (sums == turns * (1 - 2 * words.astype(int))).all()


@settings(max_examples=30)
@given(st.integers(0, 3000), st.integers(0, 2**32))
def test_the_interleaver_is_the_specified_permutation_and_goes_back(size, seed):
    values = np.random.default_rng(seed).integers(0, 2, (2, size), dtype=np.uint8)
    words = np.random.Philox(key=derive(purpose="interleaver", seed=0, size=size)).random_raw(size)
    order = sorted(range(size), key=lambda i: (int(words[i]), i))
    assert (interleave(values) == values[:, order]).all()
    assert (deinterleave(interleave(values)) == values).all()
    assert (interleave(deinterleave(values.astype(np.float32))) == values).all()


@pytest.mark.parametrize(("kept", "at_once", "chunk"), [(10, 64, 100), (10, 1000, 77), (10, 7, 1000)])
def test_long_permutations_are_put_together_from_parts(kept, at_once, chunk, monkeypatch):
    whole = permutation(1000)
    for name, value in (("_KEPT", kept), ("_AT_ONCE", at_once), ("_CHUNK", chunk)):
        monkeypatch.setattr(f"flipproof.protection.interleave.{name}", value)
    assert (permutation(1000) == whole).all()


def test_the_interleaver_scatters_bursts():
    """Of 200 neighbours among 20,000 positions about as many pairs come to lie within 10 as chance has it."""
    order = permutation(20_000)
    burst = np.sort(np.flatnonzero((order >= 5000) & (order < 5200)))
    assert len(burst) == 200
    assert likely(int((np.diff(burst) <= 10).sum()), 199, 1 - (1 - 0.01) ** 10)


@pytest.mark.parametrize("size", [-1, LONGEST + 1])
def test_permutations_have_a_limit(size):
    with pytest.raises(SpecError, match="positions"):
        permutation(size)
