"""Stable Diffusion in miniature: the same parts and files, with random weights of a few thousand numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WIDTH, TOKENS = 16, 12
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
START, END, PAD = "<|startoftext|>", "<|endoftext|>", "!"


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fill(module: nn.Module, seed: int) -> nn.Module:
    """Gives every layer random weights that keep the scale of what passes through."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                parameter.copy_(name.endswith("weight") + 0.1 * noise)
    return module.eval()


def unet(seed: int = 1, **changes: object) -> UNet2DConditionModel:
    settings = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": (1, 2, 2),
        "use_linear_projection": True,
    }
    return fill(UNet2DConditionModel(**(settings | changes)), seed)


def vae(seed: int = 2, **changes: object) -> AutoencoderKL:
    settings = {
        "block_out_channels": (4, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "norm_num_groups": 2,
        "latent_channels": 4,
        "scaling_factor": 0.25,
    }
    return fill(AutoencoderKL(**(settings | changes)), seed)


def scheduler(**changes: object) -> DDPMScheduler:
    return DDPMScheduler(**(SCHEDULE | {"clip_sample": False} | changes))


def pipeline(folder: Path, prediction: str) -> StableDiffusionPipeline:
    """Builds a whole pipeline; its tokenizer pads as that of Stable Diffusion 2 does."""
    config = CLIPTextConfig(
        vocab_size=6,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return StableDiffusionPipeline(
        unet=unet(),
        vae=vae(),
        text_encoder=fill(CLIPTextModel(config), 3),
        tokenizer=_tokenizer(folder),
        scheduler=PNDMScheduler(**SCHEDULE, prediction_type=prediction, skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def age(folder: Path, tokens: Path) -> None:
    """Rewrites a model on disk as the files of 2022 were: other names of weights, and the padding in another file."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    _rename(folder / "vae" / "diffusion_pytorch_model.safetensors", old)
    file = folder / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(file).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(TOKENS)[None]
    save_file(tensors, file, metadata={"format": "pt"})
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(tokens, folder / "tokenizer")
    settings = folder / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"pad_token": END}))
    special = {"bos_token": START, "eos_token": END, "pad_token": PAD, "unk_token": END}
    (folder / "tokenizer" / "special_tokens_map.json").write_text(json.dumps(special))


def _rename(file: Path, old: dict[str, str]) -> None:
    tensors = load_file(file)
    for new, name in old.items():
        tensors = {key.replace(f".{new}.", f".{name}."): tensor for key, tensor in tensors.items()}
    save_file(tensors, file, metadata={"format": "pt"})


def _tokenizer(folder: Path) -> CLIPTokenizer:
    folder.mkdir()
    vocabulary = [PAD, START, END, "a", "a</w>", "aa</w>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\na a</w>\n")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": PAD,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
