"""Larger networks that begin where smaller ones ended."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flipproof.errors import WeightsError
from flipproof.prior.unet import UNet
from flipproof.train.growth import grow

X, C, U = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16), torch.tensor([-2.0, 0.3]), torch.tensor([0.0, 1.0])


def network(encoder, decoder, width=4):
    return UNet((width, 6), encoder, decoder, embedding=8)


@settings(max_examples=20)
@given(st.tuples(*[st.integers(0, 2)] * 3), st.tuples(*[st.integers(0, 2)] * 3))
def test_a_grown_network_computes_what_the_small_one_did(blocks, more):
    small = network(blocks[:2], blocks[2:])
    sizes = tuple(a + b for a, b in zip(blocks, more, strict=True))
    large = network(sizes[:2], sizes[2:])
    grow(large, small.state_dict())
    assert torch.equal(large(X, C, U), small(X, C, U))


def test_new_blocks_learn():
    large = network((2, 2), (1,))
    grow(large, network((1, 2), (0,)).state_dict())
    large(X, C, U).square().mean().backward()
    for block in (large.enc[0][1], large.dec[0][0]):
        assert block.conv2.weight.grad.abs().max() > 0
        assert block.conv1.weight.abs().max() > 0


def test_only_blocks_may_be_added():
    small = network((1, 1), (1,)).state_dict()
    with pytest.raises(WeightsError, match=r"expected weights of a smaller network: .*Unexpected key"):
        grow(network((1, 1), (0,)), small)
    with pytest.raises(WeightsError, match=r"expected weights of a smaller network: .*size mismatch"):
        grow(network((1, 1), (1,), width=5), small)
    for name in ("stem.bias", "enc.0.0.conv1.bias"):
        with pytest.raises(WeightsError, match=f"expected weights of a smaller network: .*{name}"):
            grow(network((2, 1), (1,)), {key: tensor for key, tensor in small.items() if key != name})
