"""Every codec of the family on latents: of a tiny Stable Diffusion with random weights, and of formulas.

Pictures of random weights are noise, so it is the formulas that say what a picture is worth.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import flipproof
import tiny_diffusion as tiny
from conftest import photograph
from contracts import check_any_bytes
from family import NAMES, SMALL, Wiener, flip, opened
from flipproof import cli, registry
from flipproof.errors import DecodeError, SpecError, WeightsError
from flipproof.info import describe
from flipproof.metric.psnr import psnr
from flipproof.prior.base import LATENTS, Space
from flipproof.prior.load import load_prior
from flipproof.result import Status


def on_latents(codec, prior, bpp=1.5):
    """The same codec on another prior, with the only grid that latents have."""
    return replace(codec, bpp=bpp, prior=prior, **({"grid": 1} if hasattr(codec, "grid") else {}))


by_codec = pytest.mark.parametrize("codec", SMALL, ids=NAMES)


# A model of diffusers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    parts = tmp_path_factory.mktemp("tiny")
    tiny.pipeline(parts / "tokenizer", "v_prediction").save_pretrained(parts / "model")
    return parts / "model"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    parts = tmp_path_factory.mktemp("other")
    tiny.pipeline(parts / "tokenizer", "epsilon").save_pretrained(parts / "model")
    return parts / "model"


@by_codec
def test_every_codec_runs_on_a_latent_model(codec, folder):
    picture = photograph(37, 50)
    codec = replace(on_latents(codec, f"diffusers:{folder}"), protect="none")
    data = codec.encode(picture)
    assert data == codec.encode(picture)
    assert len(data) <= 1.5 * 37 * 50 / 8
    assert registry.codec(str(codec)) == codec
    common = opened(codec, data).script.common
    assert common.space == Space(channels=4, factor=4, deviation=1.0)
    assert common.fingerprint == load_prior(codec.prior).fingerprint
    files = [data, flip(data, 8 * len(data) - 9)]
    for status, file, of_many in zip((Status.OK, Status.DEGRADED), files, codec.decode_many(files), strict=True):
        alone = codec.decode(file)
        assert alone.status is of_many.status is status
        assert alone.picture.shape == picture.shape
        assert psnr(alone.picture, of_many.picture) > 50


@pytest.mark.parametrize("codec", SMALL[:3], ids=NAMES[:3])
def test_any_bytes_give_a_result(codec, folder):
    codec = on_latents(codec, f"diffusers:{folder}")
    check_any_bytes(codec, codec.encode(photograph(36, 23)))


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 8)])
@pytest.mark.parametrize("name", ["trellis", "tracks", "robust-turbo-ddcm[count=2,atoms=64,steps=5,free_steps=1]"])
def test_any_size(name, size, folder):
    picture, codec = photograph(*size), registry.codec(name, prior=f"diffusers:{folder}")
    assert codec.decode(codec.encode(picture)).picture.shape == picture.shape


def test_latents_have_one_grid(folder):
    for name in ("turbo-ddcm", "diffc"):
        with pytest.raises(SpecError, match="expected grid 1 for a prior of latents, got 2"):
            registry.codec(name, grid=2, bpp=4, prior=f"diffusers:{folder}").encode(photograph(24, 24))


def test_auto_leaves_a_diffusion_model_at_float32(folder, monkeypatch):
    monkeypatch.setattr("flipproof.prior.load.native_bfloat16", lambda: True)
    codec = on_latents(SMALL[0], f"diffusers:{folder}")
    exact = replace(codec, precision="float32")
    assert (codec.precision, codec.denoiser.precision) == ("auto", "float32")
    assert codec.denoiser is exact.denoiser
    assert codec.digests() == exact.digests()
    codec.require()


def test_precisions_make_one_kind_of_file(folder):
    codec = on_latents(SMALL[3], f"diffusers:{folder}")
    data = codec.encode(photograph(40, 56))
    half = replace(codec, precision="bfloat16")
    assert half.denoiser.precision == "bfloat16"
    assert half.decode(data).status is codec.decode(half.encode(photograph(40, 56))).status is Status.OK


@pytest.mark.parametrize("codec", [SMALL[0], SMALL[3]], ids=[NAMES[0], NAMES[3]])
def test_a_file_wants_the_prior_it_was_made_with(codec, folder, other):
    codec = on_latents(codec, f"diffusers:{folder}")
    data = codec.encode(photograph(24, 40))
    expected, got, small = (load_prior(prior) for prior in (codec.prior, f"diffusers:{other}", "small"))
    text = f"expected the prior {expected.fingerprint:08x} of the file, got"
    with pytest.raises(WeightsError, match=rf"{text} {got.fingerprint:08x} \(diffusers:.*other.*give the right"):
        replace(codec, prior=f"diffusers:{other}").decode(data)
    with pytest.raises(WeightsError, match=rf"{text} {small.fingerprint:08x} \(small\)"):
        flipproof.decode(data)
    with pytest.raises(WeightsError, match="no such directory"):
        flipproof.decode(data, prior="diffusers:/nowhere/model")
    failed, fine = (kind.decode_many([data])[0] for kind in (replace(codec, prior="small"), codec))
    assert (failed.status, failed.image) == (Status.FAILED, None)
    assert text in failed.error
    assert fine.status is Status.OK
    assert np.array_equal(flipproof.decode(data, prior=codec.prior).picture, fine.picture)


@by_codec
def test_a_file_describes_itself_without_its_prior(codec, folder):
    data = on_latents(codec, f"diffusers:{folder}").encode(photograph(24, 40))
    (title, _, fields), (_, _, parts), _ = describe(data)
    assert title == f"{codec.name}, 40x24"
    assert {("channels", "4", "5"), ("pixels per sample (log2)", "2", "3"), ("deviation (0.5, 1)", "1", "1")} <= {
        *fields
    }
    assert dict(parts)["file as received"] == str(8 * len(data))


def test_a_picture_there_and_back_on_the_command_line(folder, tmp_path, monkeypatch, capfd):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["flipproof", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capfd.readouterr()

    picture, flip, back = (tmp_path / name for name in ("a.png", "a.flip", "b.png"))
    Image.fromarray(photograph(32, 48)).save(picture)
    spelling, prior = "robust-turbo-ddcm[count=9,atoms=64,steps=6]", f"diffusers:{folder}"
    assert run("encode", picture, flip, "--codec", spelling, "--prior", prior)[0] == 0
    assert flip.read_bytes() == flipproof.encode(photograph(32, 48), registry.codec(spelling, prior=prior))
    assert run("decode", flip, back, "--prior", prior) == (0, "", f"{back}: ok, no damage seen\n")
    assert np.array_equal(Image.open(back), flipproof.decode(flip, prior=prior).picture)
    code, _, error = run("decode", flip, tmp_path / "c.png")
    assert code == 2
    assert "expected the prior" in error
    assert error.count("\n") == 1
    code, text, _ = run("info", flip)
    assert code == 0
    assert "robust-turbo-ddcm, 48x32" in text


# Priors that are formulas


class Blocks(Wiener):
    """Latents that are the colours of 8x8 pixels, and their brightness; knows that they are normal, or all of them."""

    def __init__(self, known=None):
        super().__init__(LATENTS, fingerprint=7)
        self.known = None if known is None else self.encode(known)

    def encode(self, pictures):
        colours = 2 * functional.avg_pool2d(pictures, 8)
        return torch.cat([colours, colours.mean(dim=1, keepdim=True)], dim=1)

    def decode(self, x):
        return functional.interpolate(x[:, :3] / 2, scale_factor=8)

    def denoise(self, y, sigma):
        return super().denoise(y, sigma) if self.known is None else self.known.expand_as(y)


@pytest.fixture(scope="module")
def blocky():
    blocks = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


@by_codec
@pytest.mark.parametrize("reconstruction", [None, "sharp"])
def test_a_perfect_prior_gives_the_picture(codec, reconstruction, blocky):
    pixels = torch.tensor(blocky).permute(2, 0, 1)[None].float() / 127.5 - 1
    codec = replace(on_latents(codec, Blocks(pixels)), reconstruction=reconstruction)
    data = codec.encode(blocky)
    assert np.array_equal(codec.decode(data).picture, blocky)
    assert np.array_equal(codec.decode(data, upto=0.7).picture, blocky)


@by_codec
def test_bits_bring_the_picture(codec, blocky):
    """A prior that knows nothing but the deviation: every decibel comes from the file."""
    quality = []
    for rate in (0.25, 0.5):
        made = replace(on_latents(codec, Blocks(), rate), protect="none")
        quality.append(psnr(made.decode(made.encode(blocky)).picture, blocky))
    nothing = psnr(np.full_like(blocky, 128), blocky)
    assert quality[1] > quality[0] > nothing + 3
    assert quality[1] > nothing + 6


@by_codec
def test_a_prior_of_another_space_is_refused(codec, blocky):
    data = on_latents(codec, Blocks()).encode(blocky)
    with pytest.raises(WeightsError, match=r"prior of Space\(channels=4, factor=8.*got one of Space\(channels=3"):
        replace(codec, prior=Wiener(fingerprint=7)).decode(data)


def test_what_is_no_file_is_a_decode_error_before_any_weights_are_looked_for():
    codec = registry.codec("tracks", prior="diffusers:/nowhere/model")
    with pytest.raises(DecodeError):
        codec.decode(b"junk")
