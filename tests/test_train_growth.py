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


def network(encoder, decoder, widths=(4, 6)):
    return UNet(widths, encoder, decoder, embedding=8)


@settings(max_examples=30)
@given(*[st.tuples(*[st.integers(0, 2)] * 3)] * 2, st.tuples(st.integers(4, 9), st.integers(6, 9)))
def test_a_grown_network_computes_what_the_small_one_did(blocks, more, widths):
    small = network(blocks[:2], blocks[2:])
    sizes = tuple(a + b for a, b in zip(blocks, more, strict=True))
    large = network(sizes[:2], sizes[2:], widths)
    grow(large, small.state_dict())
    assert torch.allclose(large(X, C, U), small(X, C, U), atol=1e-6)


def test_new_blocks_learn():
    large = network((2, 2), (1,))
    grow(large, network((1, 2), (0,)).state_dict())
    large(X, C, U).square().mean().backward()
    for block in (large.enc[0][1], large.dec[0][0]):
        assert block.conv2.weight.grad.abs().max() > 0
        assert block.conv1.weight.abs().max() > 0


def test_new_channels_learn():
    small, large = network((1, 1), (1,)), network((1, 1), (1,), (7, 9))
    grow(large, small.state_dict())
    large(X, C, U).square().mean().backward()
    for name, p in large.named_parameters():
        new = torch.ones_like(p, dtype=torch.bool)
        new[tuple(slice(side) for side in small.get_parameter(name).shape)] = False
        if name == "head.weight":  # what hears new channels starts at zero, and has a gradient
            assert (p[new] == 0).all()
            assert p.grad[new].abs().max() > 0
        elif name == "stem.weight":
            assert p[new].abs().max() > 0


def test_factors_and_terms_of_a_block_widen_apart():
    small, large = network((1, 0), (0,)), network((1, 0), (0,), (6, 6))
    grow(large, small.state_dict())
    halves = zip(large.enc[0][0].film.weight.chunk(2), small.enc[0][0].film.weight.chunk(2), strict=True)
    assert all(torch.equal(wide[:4], narrow) for wide, narrow in halves)


def test_only_blocks_and_channels_may_be_added():
    small = network((1, 1), (1,)).state_dict()
    with pytest.raises(WeightsError, match=r"expected weights of a smaller network: .*Unexpected key"):
        grow(network((1, 1), (0,)), small)
    with pytest.raises(WeightsError, match=r"expected weights of a smaller network: .*size mismatch"):
        grow(network((1, 1), (1,), (3, 6)), small)
    for name in ("stem.bias", "enc.0.0.conv1.bias"):
        with pytest.raises(WeightsError, match=f"expected weights of a smaller network: .*{name}"):
            grow(network((2, 1), (1,)), {key: tensor for key, tensor in small.items() if key != name})
