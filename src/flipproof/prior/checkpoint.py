"""The parts of a latent diffusion model, read from a directory in the layout of the diffusers library.

Only safetensors are read, never pickles. A part may come as ``NAME.safetensors`` or as the half-precision variant
``NAME.fp16.safetensors``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from flipproof.errors import MissingExtraError, WeightsError
from flipproof.prior import hub

__all__ = [
    "Checkpoint",
    "fingerprint",
    "local_files",
    "needs_diffusers",
    "no_progress_bar",
    "read",
    "select_files",
]

_WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
_CONFIGS = ("scheduler/scheduler_config.json", "unet/config.json", "vae/config.json", "text_encoder/config.json")
_VOCABULARIES = (("tokenizer.json",), ("merges.txt", "vocab.json"))
_SCHEDULE = (
    "beta_end",
    "beta_schedule",
    "beta_start",
    "num_train_timesteps",
    "prediction_type",
    "rescale_betas_zero_snr",
    "trained_betas",
)


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a latent diffusion model, in float32 on the CPU.

    Attributes:
        unet: A ``UNet2DConditionModel``.
        vae: An ``AutoencoderKL``.
        scheduler: A ``DDPMScheduler``, for the noise levels and the prediction type.
        prompt: Embedding of the empty prompt with shape (1, tokens, width).
        prompt_digest: SHA-256 of what the prompt was computed from.
    """

    unet: nn.Module
    vae: nn.Module
    scheduler: Any
    prompt: Tensor
    prompt_digest: bytes


def select_files(names: Collection[str], precision: str) -> list[str]:
    """Picks the files to read: half-precision variants first for half precisions, last for float32.

    Arguments:
        names: All files of a model, relative to its directory, with slashes.
        precision: The precision the model will compute in.

    Raises:
        WeightsError: A file is missing.

    Example:
        >>> select_files(["unet/config.json"], "float32")
        Traceback (most recent call last):
        flipproof.errors.WeightsError: expected scheduler/scheduler_config.json, as ... found no such file
    """
    for name in _CONFIGS:
        if name not in names:
            raise _missing(name)
    tokenizer = sorted(name for name in names if name.startswith("tokenizer/"))
    if not any(all(f"tokenizer/{name}" in tokenizer for name in vocabulary) for vocabulary in _VOCABULARIES):
        raise _missing("tokenizer/tokenizer.json")
    return [*_CONFIGS, *tokenizer, *(_weights_file(names, part, precision) for part in _WEIGHTS)]


def read(folder: Path, precision: str) -> Checkpoint:
    """Reads a model; the text encoder only lives until the empty prompt is embedded.

    Arguments:
        folder: A directory that holds what :func:`select_files` picks.
        precision: The precision the model will compute in; the parts are float32 all the same.

    Raises:
        WeightsError: A file is missing, unreadable or does not fit its configuration.
        MissingExtraError: The diffusers or the transformers library is not installed.
    """
    with needs_diffusers():
        from diffusers import AutoencoderKL, UNet2DConditionModel
    files = select_files([path.relative_to(folder).as_posix() for path in folder.glob("*/*")], precision)
    with _unreadable(folder):
        schedule, *_ = [_settings(folder / name) for name in _CONFIGS]
        scheduler = _scheduler(schedule)
        prompt, digest = _empty_prompt(folder, files)
        unet = _module(UNet2DConditionModel, folder, "unet", files, low_cpu_mem_usage=False)
        vae = _module(AutoencoderKL, folder, "vae", files, low_cpu_mem_usage=False)
    return Checkpoint(unet, vae, scheduler, prompt, digest)


def fingerprint(unet: Any, vae: Any, scheduler: Any, prompt_digest: bytes = b"") -> int:  # noqa: ANN401
    """Hashes everything that decides what a file decodes to, in 32 bits.

    These are the parameters of UNet and autoencoder by name, the settings of the noise schedule (their computed values
    differ in the last bit between processors), the scale of the latents and the digest of the prompt. Parameters count
    rounded to float16, so that a model and its half-precision variant agree.

    Arguments:
        unet: The UNet, before it is cast to another type.
        vae: The autoencoder, before it is cast to another type.
        scheduler: The noise schedule, a diffusers scheduler.
        prompt_digest: Digest of what the prompt was computed from.
    """
    schedule = {name: scheduler.config.get(name) for name in _SCHEDULE}
    latents = {name: vae.config.get(name) for name in ("scaling_factor", "shift_factor")}
    settings = json.dumps([schedule, latents], default=lambda array: array.tolist())
    digest = hashlib.sha256(settings.encode() + prompt_digest)
    for module in (unet, vae):
        for name, tensor in sorted(module.named_parameters()):
            digest.update(name.encode())
            digest.update(_digest(tensor))
    return int.from_bytes(digest.digest()[:4], "big")


@contextmanager
def needs_diffusers() -> Iterator[None]:
    """Wraps imports of the diffusers library and its companions.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError((error.name or "diffusers").partition(".")[0], "diffusers") from error


def local_files(location: str, precision: str) -> tuple[Path, list[str]]:
    """Returns the directory of a model on this machine and the files to read there; reads none, asks no network.

    Arguments:
        location: As for :func:`flipproof.prior.hub.locate`.
        precision: The precision the model will compute in.

    Raises:
        WeightsError: It is not here; says how to get it.
        MissingExtraError: The diffusers library or a companion is not installed.
    """
    for package in ("diffusers", "transformers", "huggingface_hub"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "diffusers")
    return hub.local_files(location, lambda names: select_files(names, precision))


def _settings(file: Path) -> dict[str, Any]:
    settings = json.loads(file.read_text())
    if not isinstance(settings, dict):
        raise WeightsError(f"{file}: expected a JSON object, got a {type(settings).__name__}")
    return settings


def _scheduler(settings: dict[str, Any]) -> Any:  # noqa: ANN401
    """Makes the noise schedule of any scheduler that adds Gaussian noise step by step."""
    from diffusers import DDPMScheduler

    if missing := {"beta_start", "beta_end", "beta_schedule"} - settings.keys():
        raise WeightsError(f"scheduler: expected {min(missing)}, got {settings.get('_class_name')!r} without")
    return DDPMScheduler.from_config(settings)


def _empty_prompt(folder: Path, files: Iterable[str]) -> tuple[Tensor, bytes]:
    """Embeds the empty prompt as the pipeline of Stable Diffusion does; returns it and a digest of its origin.

    The digest is of the token numbers and of the tensors in the encoder's file without their names: the transformers
    library renames parameters, and rounding makes the embedding itself differ between processors.
    """
    with needs_diffusers():
        from transformers import CLIPTextModel, CLIPTokenizer
    with no_progress_bar():
        encoder = _module(CLIPTextModel, folder, "text_encoder", files).float()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    tokens = tokenizer("", padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    mask = tokens.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
    with torch.inference_mode():
        prompt = encoder(tokens.input_ids, attention_mask=mask)[0].clone()
    return prompt, _prompt_digest(folder / _file_of("text_encoder", files), tokens.input_ids)


def _prompt_digest(file: Path, tokens: Tensor) -> bytes:
    with safe_open(file, framework="pt") as opened:
        tensors = (opened.get_tensor(name) for name in opened.keys())  # noqa: SIM118 (not a dictionary)
        digests = sorted(_digest(tensor) for tensor in tensors if tensor.is_floating_point())
    return hashlib.sha256(json.dumps(tokens.tolist()).encode() + b"".join(digests)).digest()


def _digest(tensor: Tensor) -> bytes:
    """Returns the SHA-256 of a tensor's shape and its values rounded to float16."""
    values = tensor.detach().to("cpu", torch.float16).contiguous().numpy().astype("<f2", copy=False)
    digest = hashlib.sha256(str(values.shape).encode())
    digest.update(values.data)
    return digest.digest()


def _module(kind: Any, folder: Path, part: str, files: Iterable[str], **options: object) -> Any:  # noqa: ANN401
    """Loads one part; a tensor that is missing or misshapen is an error, not a random start."""
    variant = "fp16" if ".fp16." in _file_of(part, files) else None
    module, loaded = kind.from_pretrained(
        folder,
        subfolder=part,
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **options,
    )
    for problem in ("missing_keys", "mismatched_keys"):
        if loaded.get(problem):
            raise WeightsError(f"{part} in {folder}: {problem.replace('_', ' ')}: {sorted(loaded[problem])[0]}")
    return module.eval().requires_grad_(False)


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keeps the transformers library from drawing progress bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _unreadable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(f"unreadable model in {folder}: {lines[0]}") from error


def _weights_file(names: Collection[str], part: str, precision: str) -> str:
    plain, half = (f"{part}/{_WEIGHTS[part]}{variant}.safetensors" for variant in ("", ".fp16"))
    for name in (plain, half) if precision == "float32" else (half, plain):
        if name in names:
            return name
    raise _missing(plain)


def _file_of(part: str, files: Iterable[str]) -> str:
    return next(name for name in files if name.startswith(f"{part}/") and name.endswith(".safetensors"))


def _missing(name: str) -> WeightsError:
    return WeightsError(f"expected {name}, as StableDiffusionPipeline.save_pretrained writes it, found no such file")
