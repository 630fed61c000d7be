"""The sharp prior, and the reconstruction ``sharp`` that uses it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors

import flipproof
from conftest import photograph
from flipproof import reconstruction
from flipproof.codec.tracks import TracksCodec
from flipproof.codec.trellis import TrellisCodec
from flipproof.errors import SpecError, WeightsError
from flipproof.metric.psnr import psnr
from flipproof.prior import sharp as sharp_prior
from flipproof.prior.load import native_bytes
from flipproof.prior.sharp import BASE, SHARP, load_sharp, moved
from flipproof.prior.small import SmallPrior
from flipproof.prior.unet import UNet
from flipproof.schedule import Level
from flipproof.study.dataset.bundled import load
from flipproof.train.sharp import TRAINED


@pytest.fixture(scope="module")
def coffee():
    return np.ascontiguousarray(load("coffee")[100:292, 200:392])


def noisy(picture, sigma):
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(picture.shape, np.float32))
    return torch.tensor(picture).permute(2, 0, 1)[None] / 127.5 - 1 + sigma * noise.permute(2, 0, 1)


def detail(picture):
    """Mean squared difference of neighbours."""
    values = picture.astype(float)
    return (np.diff(values, axis=0) ** 2).mean() + (np.diff(values, axis=1) ** 2).mean()


def test_the_package_has_the_way_up_alone():
    """All else is that of a prior, of which the package holds one copy."""
    own, base = load_tensors(SHARP.read()), UNet.from_bytes(BASE.read()).state_dict()
    assert {name.partition(".")[0] for name in own} == set(TRAINED)
    assert all(own[name].shape == tensor.shape for name, tensor in base.items() if name.startswith(TRAINED))
    net, none = (load_sharp(share=share).net.state_dict() for share in (1.0, 0.0))
    assert all(torch.equal(net[name], own[name].float() if name in own else base[name]) for name in base)
    assert all(torch.equal(none[name], base[name]) for name in base)


def test_weights_between_answer_in_between(coffee):
    y = noisy(coffee, 0.4)
    base, between, sharp = (load_sharp(share=share).denoise(y, 0.4) for share in (0.0, 0.5, 1.0))
    assert (between - (base + sharp) / 2).square().mean() < 0.1 * (base - sharp).square().mean()


def test_a_tensor_that_the_network_has_not_is_refused():
    base = {"head.bias": torch.zeros(12)}
    for other in ({"nose.bias": torch.zeros(3)}, {"head.bias": torch.zeros(3)}):
        with pytest.raises(WeightsError, match=r"expected a network with (nose|head)\.bias of shape \(3,\)"):
            moved(base, other)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_precisions_agree(coffee, precision):
    if precision == "int8" and not native_bytes():
        pytest.skip("no instructions for bytes")
    y = noisy(coffee, 0.4)
    made = load_sharp(precision=precision).denoise(y, 0.4)
    assert made.dtype == torch.float32
    assert (made - load_sharp().denoise(y, 0.4)).abs().mean() < 0.01
    with pytest.raises(SpecError, match="expected precision"):
        load_sharp(precision="float8")


@pytest.mark.parametrize("part", ["SHARP", "BASE"])
def test_altered_weights_are_refused(part, monkeypatch):
    monkeypatch.setattr(sharp_prior, part, replace(getattr(sharp_prior, part), sha256="0" * 64))
    with pytest.raises(WeightsError, match="are altered"):
        load_sharp(share=0.123)


@pytest.mark.parametrize("level", [Level(1, 0.5), Level(2, 0.5), Level(8, 0.3)], ids=str)
def test_the_prior_is_asked_for_the_grids_before_the_last_alone(level, monkeypatch):
    """The last evaluation is the sharp prior's, and the only one where the chain reached a grid of 1 or 2."""
    asked, shares = [], []

    class Spy(SmallPrior):
        name = "spy"

        def _evaluate(self, y, sigma, refine):
            asked.append((self.name, tuple(y.shape[2:]), refine))
            return super()._evaluate(y, sigma, refine)

    class Last(Spy):
        name = "last"

    def load_spy(device, precision, share):
        shares.append(share)
        return Last(SmallPrior.load().net, 0)

    monkeypatch.setattr(reconstruction, "load_sharp", load_spy)
    side, spy = 64 // level.grid, Spy(SmallPrior.load().net, 0)
    assert reconstruction.sharp(spy, torch.zeros(1, 3, side, side), level).shape == (1, 3, 64, 64)
    assert shares == [0.8 if level.grid == 1 else 1.0]
    if level.grid == 1:
        assert asked == [("last", (64, 64), 0)]
    else:
        assert asked[:-1] == [("spy", (n, n), 1) for n in (8, 16) if level.grid == 8]
        assert asked[-1] == ("last", (32, 32), 1)


@pytest.mark.parametrize(("sigma", "most"), [(0.1, 2), (0.4, 3), (0.7, 6)])
def test_flat_areas_stay_flat(sigma, most):
    """No grid and no texture where there is nothing but the noise of a chain: within a few grey levels."""
    for level in (-0.8, 0.0, 0.7):
        flat = np.full((128, 128, 3), round(127.5 * (level + 1)), np.uint8)
        middle = load_sharp().denoise(noisy(flat, sigma), sigma)[:, :, 32:96, 32:96]
        assert 127.5 * middle.std(dim=(2, 3)).max() < most


@pytest.mark.parametrize("bpp", [0.15, 0.3])
def test_sharp_has_more_detail_and_loses_little(coffee, bpp):
    data = TrellisCodec(bpp=bpp, protect="none").encode(coffee)
    least, sharp = (flipproof.decode(data, reconstruction=kind).picture for kind in ("mse", "sharp"))
    assert 1.04 * detail(least) < detail(sharp) < 1.5 * detail(coffee)
    assert psnr(least, coffee) - 1.5 < psnr(sharp, coffee) < psnr(least, coffee)
    again = flipproof.decode(data, reconstruction="sharp").picture
    assert np.array_equal(sharp, again)


def test_little_changes_where_a_file_says_nearly_everything(coffee):
    """At 3 bits per pixel, where chains end at less noise than the sharp prior was trained on."""
    data = TrellisCodec(bpp=3, protect="none").encode(coffee)
    least, sharp = (flipproof.decode(data, reconstruction=kind).picture for kind in ("mse", "sharp"))
    assert psnr(sharp, coffee) > psnr(least, coffee) - 1


def test_sharp_looks_more_like_the_original(coffee):
    """LPIPS falls by a seventh at least; where its weights are at hand."""
    from flipproof.metric.lpips import lpips_alex

    data = TrellisCodec(bpp=0.3, protect="none").encode(coffee)
    least, sharp = (flipproof.decode(data, reconstruction=kind).picture for kind in ("mse", "sharp"))
    try:
        assert lpips_alex(sharp, coffee) < 0.85 * lpips_alex(least, coffee)
    except WeightsError:
        pytest.skip("no weights of LPIPS here")


@pytest.mark.parametrize("prior", ["small-1", "small-2"])
def test_files_of_older_weights_are_shown_sharp_too(coffee, prior):
    codec = TrellisCodec(bpp=0.15, prior=prior, protect="none")
    data = codec.encode(coffee)
    least, sharp = (flipproof.decode(data, reconstruction=kind).picture for kind in ("mse", "sharp"))
    assert detail(sharp) > 1.1 * detail(least)
    assert psnr(sharp, coffee) > psnr(least, coffee) - 1.5


def test_a_file_without_a_single_step_has_nothing_to_sharpen():
    photo = photograph(64, 64)
    codec = TracksCodec(bpp=0.5, protect="none")
    data = codec.encode(photo)
    least, sharp = (replace(codec, reconstruction=kind).decode(data, upto=0.0).picture for kind in ("mse", "sharp"))
    assert np.array_equal(least, sharp)
