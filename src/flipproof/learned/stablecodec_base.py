"""SD-Turbo, the diffusion model that StableCodec adapts (Sauer et al., 2023, https://arxiv.org/abs/2311.17042)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from flipproof.errors import WeightsError
from flipproof.learned.stablecodec_unet import TIMESTEP, LastStep
from flipproof.learned.stablecodec_vae import FACTOR
from flipproof.prior.checkpoint import needs_diffusers, no_progress_bar, select_files
from flipproof.prior.hub import locate

__all__ = ["DEFAULT_BASE", "PROMPT", "Base"]

DEFAULT_BASE = "stabilityai/sd-turbo@b261bac6fd2cf515557d5d0707481eafa0485ec2"
"""The repository and the revision of SD-Turbo."""

PROMPT = "A high-resolution, 8K, ultra-realistic image with sharp focus, vibrant colors, and natural lighting."
"""What the authors tell the model about every picture."""


class Base:
    """The parts of a diffusion model on disk, each read when asked for, in float32 on the CPU.

    Arguments:
        location: A directory as ``StableDiffusionPipeline.save_pretrained`` writes it, or a repository of the Hugging
            Face hub, ``owner/name`` or ``owner/name@revision``. None: SD-Turbo at a fixed revision.
        precision: The precision the model will compute in; half precisions prefer files of half precision.

    Raises:
        WeightsError: The model is missing, or the hub cannot be reached.
        MissingExtraError: The diffusers library or a companion is not installed.
    """

    def __init__(self, location: str | None, precision: str) -> None:
        with needs_diffusers():
            self.folder = locate(location or DEFAULT_BASE, lambda names: select_files(names, precision))
        names = [path.relative_to(self.folder).as_posix() for path in self.folder.glob("*/*")]
        self.files = select_files(names, precision)

    def vae(self) -> nn.Module:
        """Reads the autoencoder.

        Raises:
            WeightsError: It is unreadable, or its factor is not 8.
        """
        with needs_diffusers():
            from diffusers import AutoencoderKL
        module = self._read(AutoencoderKL, "vae", low_cpu_mem_usage=False)
        factor = 2 ** (len(module.config.block_out_channels) - 1)
        if factor != FACTOR or module.config.get("shift_factor"):
            raise WeightsError(f"vae in {self.folder}: expected a factor of {FACTOR} and no shift, got {factor}")
        return module  # type: ignore[no-any-return]

    def unet(self) -> nn.Module:
        """Reads the UNet.

        Raises:
            WeightsError: It is unreadable.
        """
        with needs_diffusers():
            from diffusers import UNet2DConditionModel
        return self._read(UNet2DConditionModel, "unet", low_cpu_mem_usage=False)  # type: ignore[no-any-return]

    def last_step(self) -> LastStep:
        """Reads the noise schedule.

        Raises:
            WeightsError: The schedule is unreadable, or the model predicts something else than noise.
        """
        with needs_diffusers():
            from diffusers import DDPMScheduler
        with self._unreadable("scheduler"):
            settings = json.loads((self.folder / "scheduler" / "scheduler_config.json").read_text())
            schedule = DDPMScheduler.from_config(settings)
            if schedule.config.prediction_type != "epsilon":
                kind = schedule.config.prediction_type
                raise WeightsError(f"scheduler in {self.folder}: expected prediction_type epsilon, got {kind!r}")
            limit = schedule.config.clip_sample_range if schedule.config.clip_sample else None
            return LastStep(float(schedule.alphas_cumprod[TIMESTEP]), limit)

    @torch.inference_mode()
    def prompt(self) -> Tensor:
        """Embeds the authors' prompt, shape (1, tokens, width).

        Raises:
            WeightsError: The text encoder or the tokenizer is unreadable.
        """
        with needs_diffusers():
            from transformers import CLIPTextModel, CLIPTokenizer
        with no_progress_bar():
            encoder = self._read(CLIPTextModel, "text_encoder").float()
        with self._unreadable("tokenizer"):
            tokenizer = CLIPTokenizer.from_pretrained(self.folder / "tokenizer", local_files_only=True)
            length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
            tokens = tokenizer(PROMPT, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
            embedded: Tensor = encoder(tokens.input_ids)[0]
            return embedded.clone()

    def _read(self, kind: Any, part: str, **options: object) -> Any:  # noqa: ANN401
        """Reads one part; a tensor that is missing or misshapen is an error, not a random start."""
        file = next(name for name in self.files if name.startswith(f"{part}/") and name.endswith(".safetensors"))
        with self._unreadable(part):
            module, found = kind.from_pretrained(
                self.folder,
                subfolder=part,
                variant="fp16" if ".fp16." in file else None,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
            for problem in ("missing_keys", "mismatched_keys"):
                if found.get(problem):
                    raise WeightsError(f"{part}: {problem.replace('_', ' ')}: {sorted(found[problem])[0]}")
            return module.float().eval().requires_grad_(False)

    @contextmanager
    def _unreadable(self, part: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, SafetensorError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise WeightsError(f"unreadable {part} in {self.folder}: {lines[0]}") from error
