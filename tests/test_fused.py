"""Convolutions and what follows them, in one pass or two."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from flipproof.prior import fused
from flipproof.prior.evaluator import Evaluator
from flipproof.prior.small import SmallPrior


def operands(kind):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 32, 24, 40), (32, 32, 3, 3), (32,), (2, 32, 24, 40)
    return [0.1 * torch.randn(shape, generator=generator).to(kind) for shape in shapes]


@pytest.fixture(params=[True, False], ids=["one pass", "two passes"])
def _either(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(fused, "_there", lambda _: False)


@pytest.mark.usefixtures("_either")
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3), (torch.float64, 1e-12)])
def test_both_are_the_formula(kind, tolerance):
    x, weight, bias, total = operands(kind)
    convolved = functional.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    expected = total.double() + convolved
    with torch.inference_mode():
        hidden = fused.conv_relu(x, weight, bias)
        added = fused.add_conv(total, x, weight, bias)
    assert torch.allclose(hidden.double(), convolved.relu(), atol=tolerance, rtol=tolerance)
    assert torch.allclose(added.double(), expected, atol=tolerance, rtol=tolerance)
    assert added.data_ptr() == total.data_ptr()


def test_this_pytorch_has_them():
    """Nothing breaks without; but the shipped prior is slower, and it would be good to know."""
    assert fused._there(torch.float32) is torch.backends.mkldnn.is_available()
    assert fused._there(torch.bfloat16) is torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_processors_without_bfloat16_are_noticed(monkeypatch):
    def refuse(x, *_):
        raise RuntimeError("mkldnn_convolution: bf16 path needs the cpu support avx_ne_convert or avx512bw")

    monkeypatch.setattr(fused, "_fused_relu", refuse)
    assert not fused._there.__wrapped__(torch.bfloat16)


def test_missing_ones_are_noticed(monkeypatch):
    def gone(*_):
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_convolution_pointwise'")

    monkeypatch.setattr(fused, "_fused_relu", gone)
    assert not fused._there.__wrapped__(torch.float32)


@pytest.mark.parametrize("kind", fused.TOLERANCES)
def test_changed_ones_are_noticed(monkeypatch, kind):
    monkeypatch.setattr(fused, "_fused_add", lambda total, *_: total)
    assert not fused._there.__wrapped__(kind)


@torch.inference_mode()
def test_pictures_of_any_layout_and_batch_are_evaluated_alike():
    evaluate = Evaluator(SmallPrior.load().net)
    pictures = torch.linspace(-1, 1, 2 * 3 * 64 * 96).view(2, 3, 64, 96)
    together = evaluate(pictures.contiguous(memory_format=torch.channels_last), -1.0, 0.0)
    alone = torch.cat([evaluate(picture[None], -1.0, 0.0) for picture in pictures])
    assert torch.allclose(together, alone, atol=2e-5)
