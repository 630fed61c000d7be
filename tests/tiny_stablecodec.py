"""StableCodec in miniature: the same files with the same names of tensors, and numbers that are the same everywhere."""

from __future__ import annotations

import shutil
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tiny_diffusion as tiny
from flipproof.learned.stablecodec_elic import AuxiliaryEncoder
from flipproof.learned.stablecodec_latent import (
    Analysis,
    AuxiliaryDecoder,
    ContextModel,
    HyperAnalysis,
    Sizes,
    Synthesis,
)
from flipproof.learned.stablecodec_lora import adapted_layers

SIZES = Sizes(latent=4, narrow=24, middle=16, wide=32)
HIDDEN = 24
PICTURES = {"whole": (200, 180), "tiled": (512, 300)}
RANKS = {"unet": 4, "vae": 2}
ADAPTERS = {"unet": "default", "vae": "vae_skip"}
PARTS = {"g_a": Analysis, "g_s": Synthesis, "h_a": HyperAnalysis, "aux": AuxiliaryDecoder, "": ContextModel}


def normal(name, shape):
    """Returns numbers that follow from a name and a shape alone."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)


def values(name, tensor):
    """Returns weights that keep the scale of what passes through."""
    noise = normal(name, tuple(tensor.shape))
    if tensor.ndim > 1:
        return torch.from_numpy(noise * tensor[0].numel() ** -0.5).float()
    return torch.from_numpy(name.endswith("weight") + 0.1 * noise).float()


def fill(module, prefix=""):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(values(prefix + name, parameter))
    return module.eval()


def unet(**changes):
    return fill(tiny.unet(**{"block_out_channels": (32, 16, 16), "attention_head_dim": 2} | changes), "unet.")


def vae(**changes):
    settings = {
        "block_out_channels": (4, 4, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "norm_num_groups": 2,
    }
    return fill(tiny.vae(**settings | changes), "vae.")


def base(folder, **changes):
    """Writes a diffusion model as diffusers does."""
    pipeline = tiny.pipeline(folder.with_name(folder.name + "-tokens"), "epsilon")
    pipeline.register_modules(**{"unet": unet(), "vae": vae(), "scheduler": tiny.scheduler()} | changes)
    fill(pipeline.text_encoder, "text_encoder.")
    pipeline.save_pretrained(folder)
    return folder


def lora(part, module):
    """Returns adaptations of every layer that is adapted."""
    tensors = {}
    for layer in adapted_layers(module, part):
        weight, rank = module.get_submodule(layer).weight, RANKS[part]
        ones = (1, 1) if weight.ndim == 4 else ()
        shapes = {"A": (rank, *weight.shape[1:]), "B": (weight.shape[0], rank, *ones)}
        for side, shape in shapes.items():
            name = f"{layer}.lora_{side}.{ADAPTERS[part]}.weight"
            tensors[name] = values(f"{part}.{name}", torch.empty(shape))
    return tensors


def bottleneck(channels, prefix, names=("_matrix{}", "_bias{}", "_factor{}")):
    """Returns the tensors of a learned distribution, spread over some integers, in CompressAI's order and shapes."""
    filters, tensors = (1, 3, 3, 3, 3, 1), {}
    for layer, (inputs, outputs) in enumerate(pairwise(filters)):
        matrix, bias, factor = (prefix + name.format(layer) for name in names)
        tensors[matrix] = torch.from_numpy(-0.7 + 0.3 * normal(matrix, (channels, outputs, inputs))).float()
        tensors[bias] = torch.from_numpy(0.3 * normal(bias, (channels, outputs, 1))).float()
        if outputs > 1:
            tensors[factor] = torch.from_numpy(0.3 * normal(factor, (channels, outputs, 1))).float()
    middle = normal(prefix + "quantiles", (channels, 1, 1))
    tensors[prefix + "quantiles"] = torch.from_numpy(middle + np.array([-6.3, 0.0, 7.2])).float()
    return tensors


def codec(sizes=SIZES):
    """Returns the tensors of the latent codec."""
    tensors = {}
    for part, kind in PARTS.items():
        prefix = f"{part}." if part else ""
        tensors |= {prefix + name: tensor for name, tensor in fill(kind(sizes), prefix).state_dict().items()}
    for name, gain in {"g_a.analysis_transform.4.blocks.1.fc2": 2, "h_a.reduction.2": 1}.items():
        tensors[f"{name}.weight"] *= gain
    empty = {"_offset": torch.int32, "_quantized_cdf": torch.int32, "_cdf_length": torch.int32}
    for name, kind in empty.items():
        tensors |= {
            f"{model}.{name}": torch.zeros(0, dtype=kind) for model in ("entropy_bottleneck", "gaussian_conditional")
        }
    return (
        tensors
        | bottleneck(sizes.wide // 2, "entropy_bottleneck.")
        | {"gaussian_conditional.scale_table": torch.zeros(0)}
    )


def checkpoint(sizes=SIZES):
    """Returns what the authors' files hold."""
    diffusion = unet()
    channels = diffusion.config.block_out_channels[0]
    first = fill(nn.Conv2d(sizes.wide, channels, 3), "unet.conv_in.").state_dict()
    return {
        "state_dict_vae": lora("vae", vae()),
        "state_dict_unet": lora("unet", diffusion) | {f"conv_in.{name}": tensor for name, tensor in first.items()},
        "state_dict_codec": codec(sizes),
    }


def weights(folder: Path, rate_weights=(2,)):
    """Writes the files that the authors publish."""
    folder.mkdir()
    elic = fill(AuxiliaryEncoder(HIDDEN, SIZES.wide), "g_a.").state_dict()
    torch.save({f"g_a.{name}": tensor for name, tensor in elic.items()}, folder / "elic_official.pth")
    for number in rate_weights:
        torch.save(checkpoint(), folder / f"stablecodec_ft{number}.pkl")
    return folder


def picture(height, width):
    """Returns a smooth picture with some grain."""
    y, x = np.mgrid[:height, :width] / 64
    waves = [np.sin(2 * y + x), np.cos(3 * x - y), np.sin(x * y)]
    grain = 10 * normal("picture", (height, width, 3))
    return np.clip(128 + 80 * np.stack(waves, 2) + grain, 0, 255).astype(np.uint8)


def main(folder):
    """Writes what tests/reference/record_stablecodec.py reads."""
    base(folder / "base")
    shutil.copytree(folder / "base", folder / "old")
    tiny.age(folder / "old", folder / "base-tokens")
    weights(folder / "weights")
    for name, size in PICTURES.items():
        np.save(folder / f"{name}.npy", picture(*size))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
