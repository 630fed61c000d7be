from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

import tiny_diffusion as tiny
import tiny_stablecodec as made
from flipproof.errors import DecodeError
from flipproof.learned import stablecodec_vae
from flipproof.learned.stablecodec_elic import AuxiliaryEncoder
from flipproof.learned.stablecodec_entropy import SCALES, Reader, Rows, Writer, factorised, gaussians, scale_rows
from flipproof.learned.stablecodec_latent import LIMIT, STAGES, ContextModel, Sizes, spread_quarter, take_quarter
from flipproof.learned.stablecodec_lora import adapted_layers, merge
from flipproof.learned.stablecodec_unet import LastStep, predict_tiled
from flipproof.learned.stablecodec_vae import Tiling
from tiny_diffusion import randn

GOLDEN = Path(__file__).parent / "golden" / "stablecodec"


# Names and shapes of the published weights


def shapes(part):
    """Returns names and shapes that the authors' code, diffusers 0.25.1 and peft give at true size."""

    def walk(tree, path=()):
        for name, node in tree.items():
            if isinstance(node, dict):
                yield from walk(node, (*path, name))
            else:
                yield ".".join((*path, name)), tuple(map(int, node.split("x"))) if node else ()

    return dict(walk(json.loads((GOLDEN / "shapes.json").read_text())[part]))


def ours(module, prefix=""):
    return {prefix + name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_the_latent_codec_has_the_published_shapes():
    with torch.device("meta"):
        found = {}
        for part, kind in made.PARTS.items():
            found |= ours(kind(Sizes()), f"{part}." if part else "")
        auxiliary = AuxiliaryEncoder()
    published = shapes("state_dict_codec")
    assert found == {name: shape for name, shape in published.items() if not name.startswith(("entropy", "gaussian"))}
    names = {f"entropy_bottleneck.{name}" for name in ("quantiles", "matrices.4", "biases.4", "factors.3")}
    assert names <= published.keys()
    assert "entropy_bottleneck.factors.4" not in published
    assert ours(auxiliary) == shapes("elic")


def true_size():
    """Returns SD-Turbo without weights."""
    unet = {
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    }
    vae = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
    }
    with torch.device("meta"):
        return {"unet": UNet2DConditionModel(**unet), "vae": AutoencoderKL(**vae)}


def test_the_adapted_layers_are_those_of_the_published_shapes():
    for part, module in true_size().items():
        published = shapes(f"state_dict_{part}")
        adapter, rank = made.ADAPTERS[part], {"unet": 32, "vae": 16}[part]
        expected = {}
        for layer in adapted_layers(module, part):
            weight = module.get_submodule(layer).weight
            ones = (1, 1) if weight.ndim == 4 else ()
            expected[f"{layer}.lora_A.{adapter}.weight"] = (rank, *weight.shape[1:])
            expected[f"{layer}.lora_B.{adapter}.weight"] = (len(weight), rank, *ones)
        first = {"conv_in.weight": (320, 320, 3, 3), "conv_in.bias": (320,)} if part == "unet" else {}
        assert published == expected | first


# Parts


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_merged_adaptation_computes_what_the_two_paths_compute(kernel):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleDict({"conv": nn.Conv2d(4, 6, kernel, stride=2), "to_q": nn.Linear(5, 3)})

    net, x, y = made.fill(Net()), randn(1, 4, 9, 9), randn(2, 5)
    down, up = randn(2, 4, kernel, kernel), randn(6, 2, 1, 1)
    lower, upper = randn(2, 5), randn(3, 2)
    conv = net.encoder["conv"](x) + 4 * nn.functional.conv2d(nn.functional.conv2d(x, down, stride=2), up)
    linear = net.encoder["to_q"](y) + 4 * y @ lower.T @ upper.T
    tensors = {"conv": (down, up), "to_q": (lower, upper)}
    named = {
        f"encoder.{layer}.lora_{side}.vae_skip.weight": tensor.numpy()
        for layer, pair in tensors.items()
        for side, tensor in zip("AB", pair, strict=True)
    }
    merge(net, "vae", named, "vae_skip")
    assert torch.allclose(net.encoder["conv"](x), conv, atol=1e-5)
    assert torch.allclose(net.encoder["to_q"](y), linear, atol=1e-5)


@pytest.mark.parametrize("stage", range(STAGES))
def test_stages_take_every_channel_of_every_place_once(stage):
    x = randn(1, 8, 4, 6)
    quarter = take_quarter(x, stage)
    assert quarter.shape == (2, 4, 6)
    back = spread_quarter(quarter, stage)
    assert torch.equal(back[back != 0], x[back != 0])
    assert int((back != 0).sum()) == x.numel() // 4
    assert torch.equal(sum(spread_quarter(take_quarter(x, s), s) for s in range(STAGES)), x)


def test_scales_take_the_next_larger_row():
    for row, scale in enumerate(SCALES):
        assert scale_rows(np.array([scale])) == row
        assert scale_rows(np.array([scale * 1.0001])) == min(row + 1, 63)


def test_gaussian_rows_are_integrals_in_16_bits():
    tables = gaussians()
    for scale, row, offset in zip(SCALES.tolist(), tables.frequencies, tables.offsets, strict=True):
        values = range(offset, -offset + 1)
        assert len(row) == len(values) + 1
        expected = [math.erf((k + 0.5) / scale / 2**0.5) / 2 - math.erf((k - 0.5) / scale / 2**0.5) / 2 for k in values]
        assert np.abs(row[:-1] - np.maximum(65536 * np.array(expected), 1)).max() <= 0.51


def test_rows_of_side_information_are_integrals_of_the_learned_density():
    tensors = {name: tensor.numpy() for name, tensor in made.bottleneck(3, "").items()}
    tables, medians = factorised(tensors)
    for channel in range(3):

        def cumulative(x, channel=channel):
            layer = [x]
            for k in range(5):
                matrix = np.log1p(np.exp(tensors[f"_matrix{k}"][channel].astype(float)))
                layer = [sum(w * v for w, v in zip(row, layer, strict=True)) for row in matrix]
                layer = [v + float(b) for v, b in zip(layer, tensors[f"_bias{k}"][channel, :, 0], strict=True)]
                if k < 4:
                    factors = np.tanh(tensors[f"_factor{k}"][channel, :, 0].astype(float))
                    layer = [v + a * math.tanh(v) for v, a in zip(layer, factors, strict=True)]
            return 1 / (1 + math.exp(-layer[0]))

        row, offset = tables.frequencies[channel], tables.offsets[channel]
        values = [medians[channel] + k for k in range(offset, offset + len(row) - 1)]
        expected = [65536 * (cumulative(v + 0.5) - cumulative(v - 0.5)) for v in values]
        assert np.abs(row[:-1] - np.maximum(expected, 1)).max() <= 0.51
    renamed = {
        name.replace("_matrix", "matrices.").replace("_bias", "biases.").replace("_factor", "factors."): values
        for name, values in tensors.items()
    }
    again, _ = factorised(renamed)
    assert all((a == b).all() for a, b in zip(tables.frequencies, again.frequencies, strict=True))


TABLES = Rows(gaussians())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), min_size=1, max_size=4), st.floats(0.1, 3))
def test_stages_come_back_from_one_stream(seed, counts, spread):
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 64, count) for count in counts]
    symbols = [np.rint(rng.normal(size=len(r)) * spread * SCALES[r]).clip(-LIMIT, LIMIT).astype(np.int32) for r in rows]
    writer = Writer()
    for found, row in zip(symbols, rows, strict=True):
        writer.write(found, row, TABLES)
    reader = Reader(writer.close())
    for found, row in zip(symbols, rows, strict=True):
        assert (reader.read(row, TABLES) == found).all()


def test_the_stream_is_as_long_as_its_information():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 64, 5000)
    symbols = np.rint(rng.normal(size=5000) * SCALES[rows]).astype(np.int32)
    writer = Writer()
    writer.write(symbols, rows, TABLES)
    tables = gaussians()
    shares = [tables.frequencies[r] / tables.frequencies[r].sum() for r in range(64)]
    bits = -sum(math.log2(shares[r][s - tables.offsets[r]]) for s, r in zip(symbols, rows, strict=True))
    assert bits <= 8 * len(writer.close()) <= bits + 64


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_any_bytes_are_read(data, seed):
    rows = np.random.default_rng(seed).integers(0, 64, 200)
    reader = Reader(data)
    try:
        found = np.concatenate([reader.read(rows[:100], TABLES), reader.read(rows[100:], TABLES)])
    except DecodeError:
        return
    assert found.shape == (200,)
    assert np.abs(found).max() <= LIMIT


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 9))
def test_tiles_own_every_place_once_and_see_it(length, size, margin):
    tiling = Tiling(2 * size, margin)
    cuts = tiling.cuts(length + 2 * margin)
    assert [own.start for _, own in cuts] == [0, *(own.stop for _, own in cuts[:-1])]
    assert cuts[-1][1].stop == length + 2 * margin
    assert all(seen.start <= own.start < own.stop <= seen.stop for seen, own in cuts)


def test_layers_in_tiles_are_those_of_diffusers():
    vae, x, z = made.vae(), randn(1, 3, 32, 48), randn(1, 4, 4, 6)
    with torch.inference_mode():
        assert torch.allclose(stablecodec_vae._encode(vae.encoder, [x])[0], vae.encoder(x), atol=1e-4)
        assert torch.allclose(stablecodec_vae._decode(vae.decoder, [z])[0], vae.decoder(z), atol=1e-4)
        mode = vae.encode(x).latent_dist.mode()
        assert torch.allclose(stablecodec_vae.encode(vae, x, Tiling(64, 8)), mode, atol=1e-5)
        assert torch.allclose(stablecodec_vae.decode(vae, z, Tiling(64, 8)), vae.decode(z).sample, atol=1e-5)


@pytest.mark.parametrize("size", [(96, 96), (97, 96), (32, 320), (200, 130)])
def test_tiles_of_a_local_prediction_agree_with_the_whole(size):
    x = randn(1, 3, *size)
    assert torch.allclose(predict_tiled(lambda part: part[:, :2] * 2, x, 2), x[:, :2] * 2, atol=1e-5)


@pytest.mark.parametrize("limit", [None, 0.7])
def test_the_last_step_is_that_of_diffusers(limit):
    clip = {"clip_sample": limit is not None, "clip_sample_range": limit or 1.0, "timestep_spacing": "trailing"}
    schedule = DDPMScheduler(**tiny.SCHEDULE, **clip)
    schedule.set_timesteps(1)
    noisy, noise = randn(1, 4, 8, 8), randn(1, 4, 8, 8, seed=1)
    expected = schedule.step(noise, 999, noisy, generator=torch.Generator().manual_seed(0)).prev_sample
    step = LastStep(float(schedule.alphas_cumprod[999]), limit)
    assert torch.allclose(step.clean(noisy, noise), expected, atol=1e-4)


def test_absurd_integers_still_make_a_code():
    networks_between = made.fill(ContextModel(made.SIZES)).double()
    side = torch.full((1, made.SIZES.wide // 2, 1, 1), 1e30, dtype=torch.float64)
    with torch.inference_mode():
        code = networks_between(side, lambda stage, means, scales: torch.full_like(means, (-1) ** stage * LIMIT))
    assert code.isfinite().all()
