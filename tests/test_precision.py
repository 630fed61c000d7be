"""What the precision ``auto`` comes to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import photograph
from family import NAMES, SMALL
from flipproof import reconstruction, registry
from flipproof.codec.tracks import TracksCodec
from flipproof.errors import SpecError
from flipproof.metric.psnr import psnr
from flipproof.prior.load import PRECISIONS, concrete_precision, load_prior, native_bfloat16, native_bytes
from flipproof.prior.sharp import load_sharp
from flipproof.prior.shipped import SHIPPED
from flipproof.prior.small import SmallPrior
from flipproof.schedule import Level
from flipproof.study.dataset.bundled import load

DECIDES = "flipproof.prior.load.native_bfloat16"
HERE = [precision for precision in PRECISIONS if precision != "int8" or native_bytes()]


@pytest.fixture(params=[True, False], ids=["native", "emulated"])
def automatic(request, monkeypatch):
    """What ``auto`` comes to, with processors that have bfloat16 and such that have not."""
    monkeypatch.setattr(DECIDES, lambda: request.param)
    return "bfloat16" if request.param else "float32"


def test_this_machine_has_a_precision():
    assert load_prior("small", precision="auto").precision in PRECISIONS


@pytest.mark.parametrize("name", NAMES)
def test_auto_is_the_default_and_stays_in_the_spelling(name, automatic):
    codec = registry.codec(name)
    assert codec.precision == codec.get_config()["precision"] == "auto"
    assert "precision='auto'" in repr(codec)
    assert codec.denoiser.precision == automatic
    assert codec.digests() == codec.with_parameters(precision="float32").digests()


@pytest.mark.parametrize("name", SHIPPED)
def test_auto_shares_the_prior_of_its_precision(name, automatic):
    assert load_prior(name, precision="auto") is SmallPrior.load(precision=automatic, name=name)


@pytest.mark.usefixtures("automatic")
@pytest.mark.parametrize("precision", HERE)
def test_a_precision_that_was_asked_for_is_taken(precision):
    assert replace(SMALL[0], precision=precision).denoiser.precision == precision
    assert concrete_precision(precision, "diffusers", "cuda") == precision


@pytest.mark.usefixtures("automatic")
@pytest.mark.parametrize(
    ("spec", "device"), [("small", "cuda"), ("small-1", "cuda:1"), ("diffusers:here", "cpu"), ("diffusers", "cuda")]
)
def test_graphics_processors_and_diffusion_models_stay_at_float32(spec, device):
    assert concrete_precision("auto", spec, device) == "float32"


@pytest.mark.usefixtures("automatic")
@pytest.mark.parametrize("precision", HERE)
def test_a_prior_in_memory_keeps_its_type(precision):
    assert TracksCodec(prior=SmallPrior.load(precision=precision)).denoiser.precision == precision


def test_the_sharp_prior_follows_the_prior(automatic, monkeypatch):
    asked = []

    def load(device, precision, share):
        asked.append((device, precision))
        return load_sharp(device, precision, share)

    monkeypatch.setattr(reconstruction, "load_sharp", load)
    picture = reconstruction.sharp(SMALL[0].denoiser, torch.zeros(1, 3, 16, 16), Level(1, 0.5))
    assert asked == [("cpu", automatic)]
    assert picture.dtype == torch.float32


@pytest.mark.parametrize("codec", SMALL[:2], ids=NAMES[:2])
def test_files_cross_processors(codec, monkeypatch):
    """Made where ``auto`` is bfloat16, shown where it is float32, and the other way round: a tenth of a decibel."""
    photo = photograph(48, 64)
    for here in (True, False):
        monkeypatch.setattr(DECIDES, lambda native=here: native)
        data = codec.encode(photo)
        own = codec.decode(data).picture
        monkeypatch.setattr(DECIDES, lambda native=here: not native)
        assert psnr(codec.decode(data).picture, photo) == pytest.approx(psnr(own, photo), abs=0.1)


@pytest.mark.skipif("int8" not in HERE, reason="this processor does not multiply bytes")
@pytest.mark.parametrize("codec", SMALL[:2], ids=NAMES[:2])
def test_bytes_cost_next_to_nothing_where_both_ends_use_them(codec):
    photo = np.ascontiguousarray(load("coffee")[100:196, 200:296])
    exact, quick = (codec.with_parameters(precision=precision) for precision in ("float32", "int8"))
    expected, got = (psnr(coder.decode(coder.encode(photo)).picture, photo) for coder in (exact, quick))
    assert got > expected - 0.45
    assert psnr(exact.decode(quick.encode(photo)).picture, photo) > expected - 1.6


def test_bytes_are_refused_where_nothing_multiplies_them(monkeypatch):
    monkeypatch.setattr("flipproof.prior.load.native_bytes", lambda: False)
    with pytest.raises(SpecError, match="expected a CPU with VNNI or AMX, and PyTorch with oneDNN, for int8; got cpu"):
        SmallPrior.from_bytes(SHIPPED["small"].read(), precision="int8")


def test_bytes_are_for_processors_alone(monkeypatch):
    monkeypatch.setattr("flipproof.prior.load.native_bytes", lambda: True)
    with pytest.raises(SpecError, match="for int8; got meta without"):
        SmallPrior.from_bytes(SHIPPED["small"].read(), device="meta", precision="int8")


# What a processor can


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"avx512_f": True, "avx512_bw": True, "avx512_vl": True, "avx512_dq": True, "avx512_bf16": False}, False),
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_tile": True, "amx_bf16": True}, True),
        ({"amx_tile": True, "amx_int8": True}, False),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
        ({}, False),
    ],
)
def test_bfloat16_counts_where_there_are_instructions_for_it(capabilities, native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert native_bfloat16() is native
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not native_bfloat16()


def test_a_pytorch_that_cannot_tell_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not native_bfloat16()
