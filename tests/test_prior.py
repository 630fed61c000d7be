from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

from conftest import photograph
from flipproof.prior import tiling
from flipproof.prior.shipped import SHIPPED
from flipproof.prior.small import SmallPrior
from flipproof.study.dataset.bundled import load


@pytest.fixture(scope="module")
def prior():
    return SmallPrior.load()


def picture(rows):
    """The middle of a real photograph."""
    photo = load("coffee")[100 : 100 + rows, 200 : 200 + rows]
    return torch.tensor(photo).permute(2, 0, 1)[None] / 127.5 - 1


def decibels(a, b):
    return float(-10 * ((a - b) / 2).square().mean().log10())


@pytest.mark.parametrize(("sigma", "gain"), [(0.05, 3), (0.2, 7), (0.6, 10), (1.2, 13)])
def test_denoising_helps(prior, sigma, gain):
    x = picture(128)
    y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert decibels(prior.denoise(y, sigma), x) > decibels(y, x) + gain


@pytest.mark.parametrize("sigma", [0.15, 0.3])
def test_refining_beats_denoising_and_bicubic_interpolation(prior, sigma):
    x = picture(128)
    coarse = functional.avg_pool2d(x, 2)
    y = coarse + sigma * torch.randn(coarse.shape, generator=torch.Generator().manual_seed(0))
    bicubic = functional.interpolate(prior.denoise(y, sigma), scale_factor=2, mode="bicubic")
    assert decibels(prior.refine(y, sigma), x) > decibels(bicubic, x)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 16), (17, 40), (100, 3)])
def test_any_size_keeps_its_shape(prior, size):
    y = torch.zeros(2, 3, *size)
    assert prior.denoise(y, 0.5).shape == y.shape
    assert prior.refine(y, 0.5).shape == (2, 3, 2 * size[0], 2 * size[1])


def test_batches_change_nothing(prior, monkeypatch):
    y = torch.randn(5, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    whole = prior.denoise(y, 0.7)
    monkeypatch.setattr(tiling, "BATCH_PIXELS", 1)
    assert torch.allclose(prior.denoise(y, 0.7), whole, atol=1e-5)


def test_padding_reflects(prior):
    """A picture that already has the right size is not touched by padding: cropping the reflection gives the same."""
    y = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    padded = functional.pad(y, (0, 8, 0, 0), mode="reflect")
    assert torch.allclose(prior.denoise(y, 0.7), prior.denoise(padded, 0.7)[..., :24], atol=1e-5)


def test_a_file_decodes_alike_with_and_without_vector_units(tmp_path):
    """PSNR differs by less than 0.1 dB."""
    import subprocess
    import sys

    from flipproof.codec.tracks import TracksCodec
    from flipproof.metric.psnr import psnr

    photo = photograph(96, 128)
    data = TracksCodec(bpp=1.0, precision="float32").encode(photo)
    (tmp_path / "a.flip").write_bytes(data)
    decode = "flipproof.decode(sys.argv[1], precision='float32').picture"
    code = f"import sys, numpy as np, flipproof; np.save(sys.argv[2], {decode})"
    quality = []
    for capability in ("default", "avx2"):
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a.flip"), str(tmp_path / f"{capability}.npy")],
            env={**__import__("os").environ, "ATEN_CPU_CAPABILITY": capability},
            check=True,
        )
        quality.append(psnr(np.load(tmp_path / f"{capability}.npy"), photo))
    assert abs(quality[0] - quality[1]) < 0.1


def test_loading_does_not_import_what_compilers_need():
    code = "import sys; from flipproof.prior.small import SmallPrior; SmallPrior.load(); print('sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_at_more_noise_than_it_knows_it_sees_averages():
    """Up to the noise that chains of published codecs begin with, odd sides included."""
    photo = torch.tensor(load("coffee")[100:201, 200:333].copy()).permute(2, 0, 1)[None] / 127.5 - 1
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(photo.shape, np.float32))
    prior = SmallPrior.load()
    levels = (1, 2, 2.1, 4, 8, 14.6)
    errors = [(prior.denoise(photo + sigma * noise, sigma) - photo).square().mean().item() for sigma in levels]
    assert all(b > 0.8 * a for a, b in pairwise(errors))
    assert errors[-1] < 2 * photo.var()
    assert prior.denoise(noise[..., :1, :1], 10.0).shape == (1, 3, 1, 1)


def test_older_weights_answer_at_any_noise_as_they_did():
    y = 3 * torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32))
    old, new = (SmallPrior(SmallPrior.load().net, 0, most=most).denoise(y, 3.0) for most in (math.inf, 2.0))
    assert not torch.allclose(old, new, atol=0.1)
    assert {name: math.isinf(weights.most) for name, weights in SHIPPED.items()} == {
        "small": False,
        "small-4": False,
        "small-3": True,
        "small-2": True,
        "small-1": True,
    }
