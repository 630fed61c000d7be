"""The network of the small prior in bytes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from flipproof.prior import quantised
from flipproof.prior.evaluator import Evaluator
from flipproof.prior.leaves import leaves
from flipproof.prior.quantised import QuantisedEvaluator, exact_bytes
from flipproof.prior.shipped import SHIPPED
from flipproof.prior.small import SmallPrior, example
from flipproof.prior.unet import UNet

bytes_here = pytest.mark.skipif(not exact_bytes(), reason="this processor does not multiply bytes")


def noisy(height, width, sigma):
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    picture = torch.stack([(x * y).sin(), (x - y).cos(), (x > y) * 1.0 - 0.5])[None]
    return picture, picture + sigma * torch.randn(picture.shape, generator=generator)


def test_the_drawn_picture_is_always_the_same():
    picture = leaves(64)
    assert picture.shape == (1, 3, 64, 64)
    assert picture.dtype == torch.float32
    assert torch.equal(picture, leaves(64))
    assert (picture.amin(), picture.amax()) == (-1, 1)
    assert 0.2 < picture.std() < 0.8


@pytest.mark.parametrize("u", [0.0, 1.0])
def test_examples_are_inputs_of_the_network(u):
    x = example(-1.0, u)
    assert x.shape == (1, 3, 128, 128)
    assert 0.5 < x.std() < 1.5
    assert torch.equal(x, example(-1.0, u))
    assert torch.equal(x[..., ::2, ::2], x[..., 1::2, 1::2]) is bool(u)  # each average over its 2x2 block


@bytes_here
@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("sigma", [0.06, 0.4, 1.0])
def test_shipped_priors_lose_next_to_nothing(name, sigma):
    exact, quick = (SmallPrior.load(name=name, precision=precision) for precision in ("float32", "int8"))
    picture, y = noisy(64, 96, sigma)
    for ask in (SmallPrior.denoise, SmallPrior.refine):
        expected, got = ask(exact, y, sigma), ask(quick, y, sigma)
        assert (got - expected).square().mean().sqrt() < 0.1 * sigma
    rough, fine = (float((prior.denoise(y, sigma) - picture).square().mean()) for prior in (quick, exact))
    assert rough < 1.05 * fine + 1e-5


@bytes_here
def test_the_formula():
    """A network of one block whose ranges are known: half a step of the bytes is the most by which anything is off."""
    torch.manual_seed(0)
    net = UNet((8, 8), (1, 1), (1,), embedding=8).eval().requires_grad_(False)
    evaluator = QuantisedEvaluator(net, lambda c, u: torch.full((1, 3, 16, 16), 2.0))
    block = net.enc[0][0]
    x = torch.rand(1, 8, 16, 16) - 0.5
    steps = x.abs().amax((0, 2, 3)) / 127
    layer = quantised._Layer.of(block.conv1, steps, 128)
    seen = (x / steps[:, None, None]).round() * steps[:, None, None]
    weight = block.conv1.weight * steps[:, None, None]
    scale = weight.abs().amax((1, 2, 3), keepdim=True) / 127
    rounded = (weight / scale).round() * scale / steps[:, None, None]
    factor, term = torch.rand(8) + 0.5, torch.rand(8)
    convolved = functional.conv2d(seen, rounded, block.conv1.bias, padding=1)
    expected = functional.relu(convolved * factor[:, None, None] + term[:, None, None])
    step = expected.max() / 255 * torch.ones(8)
    hidden = layer.relu(quantised._bytes(x, steps), factor, term, step)
    assert (hidden * step[:, None, None] - expected).abs().max() <= 0.501 * step[0]
    assert evaluator.precision == "int8"


@bytes_here
def test_what_stands_for_the_most_is_clipped():
    x = torch.tensor([-3.0, -1.0, 0.0, 0.004, 1.0, 3.0]).view(1, 1, 1, 6)
    assert quantised._bytes(x, torch.tensor([1 / 127])).flatten().tolist() == [0, 1, 128, 129, 255, 255]


@bytes_here
@torch.inference_mode()
def test_batches_and_layouts_do_not_matter():
    evaluate = QuantisedEvaluator(SmallPrior.load().net, example)
    pictures = torch.linspace(-1, 1, 2 * 3 * 64 * 96).view(2, 3, 64, 96)
    together = evaluate(pictures.contiguous(memory_format=torch.channels_last), -1.0, 0.0)
    alone = torch.cat([evaluate(picture[None], -1.0, 0.0) for picture in pictures])
    assert (together - alone).square().mean().sqrt() < 2e-3  # what rounds otherwise in float32 may be another byte


@bytes_here
@torch.inference_mode()
def test_a_question_has_one_answer_whatever_was_asked_before():
    net, x = SmallPrior.load().net, noisy(32, 48, 0.3)[1]
    first, second = (QuantisedEvaluator(net, example) for _ in range(2))
    for c in (-3.0, 0.2, -1.7):
        second(x, c, 1.0)
    assert torch.equal(first(x, -1.3, 0.0), second(x, -1.3, 0.0))


@bytes_here
@torch.inference_mode()
def test_dead_channels_and_wild_samples_do_no_harm():
    net = UNet((8, 8), (1, 1), (1,), embedding=8).eval().requires_grad_(False)
    for p in net.enc[0].parameters():
        p.zero_()
    evaluate = QuantisedEvaluator(net, lambda c, u: torch.zeros(1, 3, 16, 16))
    for x in (torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 1e6), torch.full((1, 3, 16, 16), -1e6)):
        assert evaluate(x, 0.0, 0.0).isfinite().all()


@bytes_here
def test_it_follows_the_network_of_float32():
    """Nothing is left out: with bytes in place of float32, answers differ, but by little."""
    net, x = SmallPrior.load().net, noisy(64, 64, 0.5)[1]
    with torch.inference_mode():
        exact, quick = Evaluator(net)(x, -0.7, 0.0), QuantisedEvaluator(net, example)(x, -0.7, 0.0)
    assert 0 < (quick - exact).square().mean() < 1e-3 * exact.square().mean()


def test_missing_convolutions_are_noticed(monkeypatch):
    def gone(*_):
        raise AttributeError("'_OpNamespace' 'onednn' object has no attribute 'qconv_prepack'")

    monkeypatch.setattr(quantised._Layer, "of", gone)
    assert not exact_bytes.__wrapped__()


@bytes_here
def test_products_that_do_not_fit_are_noticed(monkeypatch):
    """Processors without VNNI add pairs of products of bytes in 16 bits."""
    right = quantised._Layer.add_to

    def saturated(layer, total, x):
        return right(layer, total, x).clamp(max=144 * 2**15)

    monkeypatch.setattr(quantised._Layer, "add_to", saturated)
    assert exact_bytes.__wrapped__()  # as many as fit
    monkeypatch.setattr(quantised._Layer, "add_to", lambda *given: saturated(*given).clamp(max=72 * 2**15))
    assert not exact_bytes.__wrapped__()


def test_a_convolution_without_spread_has_steps():
    with torch.inference_mode():
        conv = nn.Conv2d(4, 4, 3, padding=1)
        conv.weight.zero_()
    assert (quantised._range(torch.zeros(4), 4) > 0).all()
