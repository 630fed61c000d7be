"""What the precision ``auto`` comes to."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from conftest import photograph
from family import NAMES, SMALL
from flipproof import reconstruction, registry
from flipproof.codec.tracks import TracksCodec
from flipproof.errors import SpecError
from flipproof.metric.psnr import psnr
from flipproof.prior.load import PRECISIONS, concrete_precision, load_prior, native_bfloat16, native_bytes
from flipproof.prior.refiner import Refiner
from flipproof.prior.shipped import SHIPPED
from flipproof.prior.small import SmallPrior
from flipproof.schedule import Level

BYTES_HERE = native_bytes()
PROCESSORS = {"bfloat16": (True, True), "int8": (False, True), "float32": (False, False)}
"""Whether a processor multiplies in bfloat16, and bytes, by what ``auto`` comes to there."""


def move_to(monkeypatch, precision):
    for decides, has in zip(("native_bfloat16", "native_bytes"), PROCESSORS[precision], strict=True):
        monkeypatch.setattr(f"flipproof.prior.load.{decides}", lambda has=has: has)


def skip_without_bytes(precision):
    if precision == "int8" and not BYTES_HERE:
        pytest.skip("this processor does not multiply bytes")


@pytest.fixture(params=PROCESSORS)
def automatic(request, monkeypatch):
    """What ``auto`` comes to on one of three processors."""
    skip_without_bytes(request.param)
    move_to(monkeypatch, request.param)
    return request.param


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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_that_was_asked_for_is_taken(precision):
    skip_without_bytes(precision)
    assert replace(SMALL[0], precision=precision).denoiser.precision == precision
    assert concrete_precision(precision, "diffusers", "cuda") == precision


@pytest.mark.usefixtures("automatic")
@pytest.mark.parametrize(
    ("spec", "device"), [("small", "cuda"), ("small-1", "cuda:1"), ("diffusers:here", "cpu"), ("diffusers", "cuda")]
)
def test_graphics_processors_and_diffusion_models_stay_at_float32(spec, device):
    assert concrete_precision("auto", spec, device) == "float32"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_prior_in_memory_keeps_its_type(precision):
    skip_without_bytes(precision)
    assert TracksCodec(prior=SmallPrior.load(precision=precision)).denoiser.precision == precision


def test_the_refiner_follows_the_prior(automatic, monkeypatch):
    asked = []

    def load(device, precision):
        asked.append((device, precision))
        return Refiner.load(device, precision)

    monkeypatch.setattr(reconstruction, "Refiner", type("Spy", (), {"load": staticmethod(load)}))
    picture = reconstruction.sharp(SMALL[0].denoiser, torch.zeros(1, 3, 16, 16), Level(1, 0.5))
    assert asked == [("cpu", automatic)]
    assert picture.dtype == torch.float32


@pytest.mark.parametrize(("here", "there"), list(permutations(PROCESSORS, 2)))
@pytest.mark.parametrize("codec", SMALL[:2], ids=NAMES[:2])
def test_files_cross_processors(codec, here, there, monkeypatch):
    """Made where ``auto`` is one thing, shown where it is another: a tenth of a decibel, with bytes twice that."""
    for precision in (here, there):
        skip_without_bytes(precision)
    photo = photograph(48, 64)
    move_to(monkeypatch, here)
    data = codec.encode(photo)
    own = codec.decode(data).picture
    move_to(monkeypatch, there)
    assert psnr(codec.decode(data).picture, photo) == pytest.approx(
        psnr(own, photo), abs=0.2 if "int8" in (here, there) else 0.1
    )


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
