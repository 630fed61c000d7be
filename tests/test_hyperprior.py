"""The learned codec that is trained here.

To write its golden files again after new weights: FLIPPROOF_WRITE_GOLDEN=1 pytest tests/test_hyperprior.py
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import torch as safetensors

from conftest import photograph
from contracts import check_codec
from flipproof.codec.hyperprior import HyperpriorCodec
from flipproof.errors import DecodeError, RateError, SpecError, WeightsError
from flipproof.learned import frozen
from flipproof.learned.envelope import Envelope
from flipproof.learned.frozen import FrozenHyperprior, freeze, hyper_rows
from flipproof.learned.hyperprior import HYPER, Hyperprior
from flipproof.learned.integer import FRACTION, MEAN_FRACTION, IntegerSynthesis, integers_of
from flipproof.metric.psnr import psnr

GOLDEN = Path(__file__).parent / "golden" / "hyperprior"
LEVELS = (0, 50, 51, 52, 128, 254, 255)


@pytest.fixture(scope="module")
def model():
    return FrozenHyperprior.load()


@pytest.fixture(scope="module")
def fresh():
    """A network with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Hyperprior()


def hyper_latents(height, width, seed=0):
    values = np.random.default_rng(seed).integers(-6, 7, (HYPER, height, width))
    return torch.from_numpy(values.astype(np.int32))


def bits_per_pixel(data, picture):
    return 8 * len(data) / picture.shape[0] / picture.shape[1]


# ---- the codec


def test_it_passes_the_checks_of_every_codec():
    check_codec(HyperpriorCodec(quality=200), photograph(70, 100), least_db=28)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (65, 33), (64, 64), (63, 129)])
def test_pictures_of_any_size_keep_it(height, width):
    codec = HyperpriorCodec()
    assert codec.decode(codec.encode(photograph(height, width))).picture.shape == (height, width, 3)


def test_files_and_pictures_improve_with_quality():
    picture = photograph(192, 192)
    files = [HyperpriorCodec(quality=quality).encode(picture) for quality in (0, 64, 128, 192, 255)]
    quality = [psnr(HyperpriorCodec().decode(data).picture, picture) for data in files]
    assert sorted(files, key=len) == files
    assert sorted(quality) == quality


@pytest.mark.parametrize("bpp", [0.3, 0.5, 0.7])
def test_a_rate_is_met_from_below_within_three_per_cent(bpp):
    picture = photograph(192, 192)
    rate = bits_per_pixel(HyperpriorCodec(bpp=bpp).encode(picture), picture)
    assert 0.97 * bpp <= rate <= bpp


def test_rates_below_the_smallest_file_are_refused():
    with pytest.raises(RateError, match=r"hyperprior: 0\.001 bpp is too low here"):
        HyperpriorCodec(bpp=0.001).encode(photograph(64, 64))


@pytest.mark.parametrize("wrong", [{"quality": 256}, {"quality": -1}, {"bpp": 0.0}, {"device": "abacus"}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(SpecError):
        HyperpriorCodec(**wrong)


def test_it_knows_no_priorities_and_no_parts():
    codec = HyperpriorCodec()
    with pytest.raises(SpecError, match="priority"):
        codec.encode(photograph(64, 64), priority=np.ones((64, 64)))
    with pytest.raises(SpecError, match="upto"):
        codec.decode_many([], upto=0.5)


def test_a_flip_early_in_a_stream_spoils_the_picture_without_a_report():
    codec, picture = HyperpriorCodec(quality=200), photograph(192, 192)
    envelope = Envelope.unpack(codec.encode(picture), b"FPHY", streams=2)
    damaged = bytes([envelope.streams[1][0] ^ 0x10]) + envelope.streams[1][1:]
    data = replace(envelope, streams=(envelope.streams[0], damaged)).pack(b"FPHY")
    result = codec.decode(data)
    assert result.status == "ok"
    assert psnr(result.picture, picture) < psnr(codec.decode(codec.encode(picture)).picture, picture) - 6


# ---- streams


@pytest.mark.parametrize("level", LEVELS)
def test_the_decoder_finds_the_latents_that_the_encoder_meant(model, level):
    latents = model.analysed(photograph(130, 100))
    scaled = latents * model.gains[level]
    z = model._hyper_analysed(scaled)
    means = model.integer.gaussians(z, level).means / 2**MEAN_FRACTION
    meant = ((scaled - means).round() + means) / model.gains[level]
    assert torch.equal(model.decompressed(model.compressed(latents, level), 130, 100, level), meant)


@settings(max_examples=10)
@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 255))
def test_any_streams_decode(first, second, level):
    data = Envelope(70, 40, level, (first, second)).pack(b"FPHY")
    assert HyperpriorCodec().decode(data).picture.shape == (70, 40, 3)


def test_the_largest_symbols_overflow_nothing(model):
    """Streams that say the most extreme hyper-latents and symbols there are."""
    shape = (HYPER, 2, 1)
    z = np.full(shape, 2**31 - 1, np.int32)
    first = model.hyper_tables.encode(z.ravel(), hyper_rows(shape, 0).reshape(-1).numpy())
    gaussians = model.integer.gaussians(torch.from_numpy(z).clamp(-127, 127), 0)
    symbols = np.where(np.arange(128 * 32) % 2, 2**31 - 1, -(2**31)).astype(np.int32)
    second = model.tables.encode(symbols, gaussians.indices.numpy().ravel())
    latents = model.decompressed((first, second), 128, 64, 0)
    assert latents.isfinite().all()
    assert model.synthesised(latents, 128, 64).shape == (128, 64, 3)
    assert model.synthesised(torch.full((128, 4, 4), torch.inf), 64, 64).shape == (64, 64, 3)


@pytest.mark.parametrize("data", [b"", b"FPHY", b"FPHX\0\5\0\7\3\0", b"FPHY\0\0\0\7\3\0", b"FPHY\0\5\0\7\3\2a"])
def test_broken_envelopes_are_refused(data):
    with pytest.raises(DecodeError):
        HyperpriorCodec().decode(data)


def test_pictures_worked_on_in_pieces_are_the_same(model, monkeypatch):
    picture = photograph(120, 180)
    latents = model.analysed(picture)
    whole = model.synthesised(latents, 120, 180)
    monkeypatch.setattr(frozen, "TILE", 4)
    assert torch.allclose(model.analysed(picture), latents, atol=1e-3)
    assert psnr(model.synthesised(latents, 120, 180), whole) > 60


# ---- integers


def reference(integer, z, level):
    """The hyper-decoder in NumPy integers, product by product."""

    def layer(index, x, incoming):
        weight = integer.weights[index].numpy().astype(np.int64)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        sums = np.zeros((len(weight), *x.shape[1:]), np.int64)
        for i in range(3):
            for j in range(3):
                part = padded[:, i : i + x.shape[1], j : j + x.shape[2]]
                sums += np.einsum("oc,chw->ohw", weight[:, :, i, j], part)
        return sums + integer.biases[index].numpy().astype(np.int64)[:, None, None], incoming + integer.fractions[index]

    def cut(x, bits):
        return (x + (1 << bits >> 1)) >> bits if bits > 0 else x << -bits

    x, fraction = z.numpy().astype(np.int64), 0
    for index in (0, 1):
        sums, total = layer(index, x, fraction)
        x = cut(sums, total - FRACTION).clip(0, 16 << FRACTION)
        c, h, w = x.shape
        x = x.reshape(c // 4, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * h, 2 * w)
        fraction = FRACTION
    sums, total = layer(2, x, fraction)
    low, share = min(level * 5 // 255, 4), level * 5 - 255 * min(level * 5 // 255, 4)
    table = integer.index_bias.numpy()
    bias = (table[low] * (255 - share) + table[low + 1] * share) // 255
    index = cut(8 * cut(sums[128:], total - FRACTION) + bias[:, None, None], FRACTION).clip(0, 63)
    return cut(sums[:128], total - MEAN_FRACTION), index


@pytest.mark.parametrize("level", LEVELS)
def test_entropy_parameters_are_those_of_integer_arithmetic(model, level):
    z = hyper_latents(3, 5)
    found = model.integer.gaussians(z, level)
    means, indices = reference(model.integer, z, level)
    assert (found.means.numpy() == means).all()
    assert (found.indices.numpy() == indices).all()


def test_entropy_parameters_do_not_depend_on_layout_or_threads(model):
    z = hyper_latents(4, 4)
    expected = model.integer.gaussians(z, 77)
    plain = replace(model.integer, weights=tuple(w.contiguous() for w in model.integer.weights))
    torch.set_num_threads(3)
    found = [plain.gaussians(z, 77), model.integer.gaussians(z, 77)]
    for other in found:
        assert torch.equal(other.means, expected.means)
        assert torch.equal(other.indices, expected.indices)


@pytest.mark.parametrize("level", LEVELS)
def test_integers_say_what_the_trained_network_says(fresh, level):
    z = hyper_latents(2, 3)
    integer = IntegerSynthesis.from_tensors(integers_of(fresh), "cpu")
    found = integer.gaussians(z, level)
    with torch.no_grad():
        expected = fresh.parameters_from(z[None].float(), torch.tensor([level * 5 / 255]))
    assert (found.means / 2**MEAN_FRACTION - expected.mean[0]).abs().max() < 0.02
    assert (found.indices - expected.index[0].clamp(0, 63)).abs().max() < 0.55


def test_sums_stay_below_the_limit_of_exact_floats(model):
    for layer, most in enumerate((127, 2**14, 2**14)):
        weight, bias = model.integer.weights[layer], model.integer.biases[layer]
        assert (weight.abs().sum((1, 2, 3)) * most + bias.abs()).max() < 2**52


# ---- weights


def test_the_tables_of_a_fresh_network_code_anything(fresh):
    model = FrozenHyperprior.from_bytes(safetensors.save(freeze(fresh)))
    latents = model.analysed(photograph(64, 64))
    assert model.decompressed(model.compressed(latents, 255), 64, 64, 255).isfinite().all()


def test_missing_and_altered_weights_are_reported(monkeypatch, tmp_path):
    with pytest.raises(WeightsError, match="cannot read the weights"):
        HyperpriorCodec(weights=str(tmp_path / "none")).encode(photograph(64, 64))
    with pytest.raises(WeightsError, match="cannot read the weights"):
        HyperpriorCodec(weights=str(tmp_path / "none")).decode_many([b""])
    monkeypatch.setattr(frozen, "HYPERPRIOR_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="altered"):
        frozen._shipped.__wrapped__("cpu")
    monkeypatch.setattr(frozen.resources, "files", lambda _: tmp_path)
    with pytest.raises(WeightsError, match="missing"):
        frozen._shipped.__wrapped__("cpu")


def test_weights_from_a_file_are_used(tmp_path, fresh):
    path = tmp_path / "fresh.safetensors"
    path.write_bytes(safetensors.save(freeze(fresh)))
    picture = photograph(64, 64)
    codec = HyperpriorCodec(weights=str(path))
    assert codec.encode(picture) != HyperpriorCodec().encode(picture)
    assert codec.decode(codec.encode(picture)).picture.shape == picture.shape


BREAK = {
    "no tensor": lambda tensors: tensors.pop("synthesis.0.convolution.weight"),
    "another tensor": lambda tensors: tensors.update({"analysis.spare": torch.zeros(1)}),
    "no gains": lambda tensors: tensors.pop("log_gain"),
    "another shape": lambda tensors: tensors.update({"integer.0.weight": torch.zeros(2, dtype=torch.int16)}),
    "fractions": lambda tensors: tensors.update({"integer.1.bias": tensors["integer.1.bias"].float()}),
    "overflow": lambda tensors: tensors.update({"integer.2.weight": tensors["integer.2.weight"].int() + 2**16}),
    "shift": lambda tensors: tensors.update({"integer.2.fraction": torch.tensor(-1)}),
    "few rows": lambda tensors: tensors.update({"scales": tensors["scales"][:-1]}),
    "no tables": lambda tensors: tensors.pop("hyper.cdfs"),
    "descending": lambda tensors: tensors.update({"hyper.cdfs": tensors["hyper.cdfs"].flip(1)}),
    "no scale": lambda tensors: tensors.update({"scales": tensors["scales"] * 0}),
}


@pytest.mark.parametrize("harm", BREAK.values(), ids=BREAK)
def test_weights_that_do_not_fit_are_refused(fresh, harm):
    tensors = dict(freeze(fresh))
    harm(tensors)
    with pytest.raises(WeightsError):
        FrozenHyperprior.from_bytes(safetensors.save(tensors))


def test_other_bytes_are_no_weights():
    with pytest.raises(WeightsError):
        FrozenHyperprior.from_bytes(b"no safetensors")


def test_weights_too_large_for_integers_are_not_frozen():
    net = Hyperprior()
    torch.nn.init.constant_(net.hyper_synthesis[-1].weight, 1e5)
    with pytest.raises(WeightsError, match="16 bits"):
        freeze(net)


# ---- golden files


def digests(model):
    """What coder and decoder must share, on every machine and in every release with these weights."""
    gaussians = model.integer.gaussians(hyper_latents(4, 3), 128)
    parameters = np.stack([gaussians.means.numpy(), gaussians.indices.numpy()]).astype("<i4")
    rows = np.concatenate([*model.tables.frequencies, *model.hyper_tables.frequencies]).astype("<i8")
    data = (GOLDEN / "clean.fphy").read_bytes()
    envelope = Envelope.unpack(data, b"FPHY", streams=2)
    z = model.hyper_tables.decode(envelope.streams[0], hyper_rows((HYPER, 2, 2), envelope.level).reshape(-1).numpy())
    found = model.integer.gaussians(torch.from_numpy(z).view(HYPER, 2, 2), envelope.level)
    symbols = model.tables.decode(envelope.streams[1], found.indices.numpy().ravel())
    arrays = {"parameters": parameters, "tables": rows, "hyper-latents": z, "symbols": symbols.astype("<i4")}
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}


def write(model):
    GOLDEN.mkdir(parents=True, exist_ok=True)
    data = HyperpriorCodec(quality=180).encode(photograph(70, 100))
    damaged = bytearray(data)
    damaged[-200] ^= 4
    for name, content in (("clean", data), ("damaged", bytes(damaged))):
        (GOLDEN / f"{name}.fphy").write_bytes(content)
        Image.fromarray(HyperpriorCodec().decode(content).picture).save(GOLDEN / f"{name}.png")
    (GOLDEN / "sha256.json").write_text(json.dumps(digests(model), indent=2) + "\n")


@pytest.fixture(scope="module")
def golden(model):
    if os.environ.get("FLIPPROOF_WRITE_GOLDEN"):
        write(model)
    return GOLDEN


@pytest.mark.parametrize("name", ["clean", "damaged"])
def test_golden_files_decode_to_their_pictures(golden, name):
    picture = HyperpriorCodec().decode((golden / f"{name}.fphy").read_bytes()).picture
    assert psnr(picture, np.asarray(Image.open(golden / f"{name}.png"))) > 50


def test_what_coder_and_decoder_share_stays_bit_by_bit(golden, model):
    assert digests(model) == json.loads((golden / "sha256.json").read_text())
