"""The refiner, and the reconstruction ``sharp`` that uses it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import flipproof
from conftest import photograph
from flipproof.codec.tracks import TracksCodec
from flipproof.errors import SpecError, WeightsError
from flipproof.metric.psnr import psnr
from flipproof.prior import refiner as module
from flipproof.prior.refiner import LEAST, Refiner, condition
from flipproof.prior.unet import UNet
from flipproof.schedule import Level
from flipproof.study.dataset.bundled import load

AT_A_TENTH = Level(2, 0.5)
"""About where chains end at 0.1 bpp."""


@pytest.fixture(scope="module")
def refiner():
    return Refiner.load()


@pytest.fixture(scope="module")
def coffee():
    return np.ascontiguousarray(load("coffee")[100:292, 200:392])


def tensor(picture):
    return torch.tensor(picture).permute(2, 0, 1)[None] / 127.5 - 1


def detail(picture):
    """Mean squared difference of neighbours."""
    values = picture.astype(float)
    return (np.diff(values, axis=0) ** 2).mean() + (np.diff(values, axis=1) ** 2).mean()


def test_the_condition_is_the_noise_at_full_resolution():
    assert condition(Level(1, 1.2)) == pytest.approx(condition(Level(2, 0.6))) == pytest.approx(math.log(1.2))


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 16), (17, 40), (100, 3)])
def test_any_size_keeps_its_shape(refiner, size):
    x = torch.zeros(2, 3, *size)
    assert refiner(x, AT_A_TENTH).shape == x.shape


def test_pictures_of_a_batch_do_not_touch(refiner, coffee):
    x = torch.cat([tensor(coffee), -tensor(coffee)])
    together = refiner(x, AT_A_TENTH)
    for one, part in zip(x, together, strict=True):
        assert torch.allclose(refiner(one[None], AT_A_TENTH)[0], part, atol=1e-4)


def test_what_is_outside_the_range_is_clipped(refiner, coffee):
    x = tensor(coffee)
    assert torch.equal(refiner(4 * x, AT_A_TENTH), refiner((4 * x).clamp(-1, 1), AT_A_TENTH))


def test_what_is_added_fades_with_the_noise(refiner, coffee):
    """Beyond the noise that it was trained on, a picture that is all but known stays as it is."""
    x = tensor(coffee)
    added = [(refiner(x, Level(1, math.exp(LEAST - fall))) - x).abs().mean().item() for fall in (0, 1, 20)]
    assert added[1] == pytest.approx(added[0] / math.e, rel=1e-3)
    assert added[2] < 1e-6


def test_flat_areas_stay_flat(refiner):
    """No grid and no texture where there is nothing: within two grey levels."""
    for level in (-0.8, 0.0, 0.7):
        x = torch.full((1, 3, 96, 96), level)
        middle = refiner(x, AT_A_TENTH)[:, :, 32:64, 32:64]
        assert 127.5 * middle.std(dim=(2, 3)).max() < 2


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_precisions_agree(refiner, coffee, precision):
    made = Refiner.load(precision=precision)(tensor(coffee), AT_A_TENTH)
    assert made.dtype == torch.float32
    assert (made - refiner(tensor(coffee), AT_A_TENTH)).abs().mean() < 0.01
    with pytest.raises(SpecError, match="expected precision"):
        Refiner.load(precision="float8")


def test_altered_weights_are_refused(monkeypatch):
    monkeypatch.setattr(module, "SHARP", replace(module.SHARP, sha256="0" * 64))
    module._shipped.cache_clear()
    with pytest.raises(WeightsError, match="are altered"):
        Refiner.load()
    module._shipped.cache_clear()


def test_a_network_of_any_size_loads():
    net = UNet((4, 6), (1, 1), (1,), embedding=8)
    from safetensors.torch import save

    refiner = Refiner.from_bytes(save(net.state_dict()))
    assert refiner(torch.zeros(1, 3, 5, 6), AT_A_TENTH).shape == (1, 3, 5, 6)


def test_sharp_has_more_detail_and_loses_little(coffee):
    data = TracksCodec(bpp=0.3, protect="none").encode(coffee)
    least, sharp = (flipproof.decode(data, reconstruction=kind).picture for kind in ("mse", "sharp"))
    assert detail(least) < detail(sharp) < 1.5 * detail(coffee)
    assert psnr(least, coffee) - 2 < psnr(sharp, coffee)
    again = flipproof.decode(data, reconstruction="sharp").picture
    assert np.array_equal(sharp, again)


def test_sharp_looks_more_like_the_original(coffee):
    """LPIPS falls by a tenth at least; where its weights are at hand."""
    from flipproof.metric.lpips import lpips_alex

    data = TracksCodec(bpp=0.3, protect="none").encode(coffee)
    least, sharp = (flipproof.decode(data, reconstruction=kind).picture for kind in ("mse", "sharp"))
    try:
        assert lpips_alex(sharp, coffee) < 0.9 * lpips_alex(least, coffee)
    except WeightsError:
        pytest.skip("no weights of LPIPS here")


def test_a_file_without_a_single_step_has_nothing_to_refine():
    photo = photograph(64, 64)
    codec = TracksCodec(bpp=0.5, protect="none")
    data = codec.encode(photo)
    least, sharp = (replace(codec, reconstruction=kind).decode(data, upto=0.0).picture for kind in ("mse", "sharp"))
    assert np.array_equal(least, sharp)
