r"""Stable Diffusion as a prior, through the diffusers library.

Any latent diffusion model of Rombach et al. (2022, https://arxiv.org/abs/2112.10752) that predicts the noise
:math:`\epsilon` or the velocity :math:`v` (Salimans and Ho, 2022, https://arxiv.org/abs/2202.00512), with the empty
prompt. The network knows :math:`x_t = \sqrt{\bar\alpha} x_0 + \sqrt{1 - \bar\alpha} \epsilon`, which is
:math:`y = x_0 + \sigma \epsilon` after scaling:

.. math:: \bar\alpha = \frac{1}{1 + \sigma^2}, \quad x_t = \sqrt{\bar\alpha} \, y, \quad
    D_\epsilon = y - \sigma \epsilon(x_t, t), \quad
    D_v = \bar\alpha \, y - \sqrt{1 - \bar\alpha} \, v(x_t, t).

The timestep :math:`t` is where :math:`\sqrt{(1 - \bar\alpha_t) / \bar\alpha_t} = \sigma`, between whole timesteps by
linear interpolation of :math:`\ln \sigma`, and at most the last one with finite :math:`\sigma`.
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from flipproof.errors import SpecError, WeightsError
from flipproof.prior.base import Prior, Space
from flipproof.prior.checkpoint import fingerprint, needs_diffusers, read, select_files
from flipproof.prior.hub import locate
from flipproof.prior.load import BYTES, check_device, precision_type

__all__ = ["DEFAULT_MODEL", "MODEL_VARIABLE", "DiffusersPrior", "located"]

DEFAULT_MODEL = "Manojb/stable-diffusion-2-1-base"
"""A mirror of Stable Diffusion 2.1 base; Stability AI withdrew its own page."""
MODEL_VARIABLE = "FLIPPROOF_DIFFUSERS_MODEL"
"""Environment variable with another default model, as names on the hub move."""

BATCH_LATENTS = 2**15
BATCH_PIXELS = 2**18
TILE = 768
_UNSUPPORTED = ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type")


class DiffusersPrior(Prior):
    """A latent diffusion model with its autoencoder.

    Pictures with a side above 768 pixels pass the autoencoder in overlapping tiles, which bounds its memory.

    Arguments:
        unet: A ``UNet2DConditionModel`` in float32; the prior takes it over, and moves and casts it.
        vae: An ``AutoencoderKL`` in float32; taken over as well.
        scheduler: A diffusers scheduler with ``alphas_cumprod``, such as ``DDPMScheduler``.
        prompt: Embedding of the empty prompt with shape (1, tokens, width).
        prompt_digest: Digest of what the prompt was computed from; enters the fingerprint.
        device: Where to compute.
        precision: Type to compute in: float32, float16 or bfloat16.

    Raises:
        SpecError: There is no such precision or device.
        WeightsError: The parts do not fit together, or are no model of this kind.
    """

    name: ClassVar[str] = "diffusers"

    def __init__(
        self,
        unet: nn.Module,
        vae: nn.Module,
        scheduler: Any,  # noqa: ANN401 (the schedulers of diffusers share no useful type)
        prompt: Tensor,
        *,
        prompt_digest: bytes = b"",
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        kind = _check_precision(precision)
        check_device(device)
        _check_parts(unet.config, vae.config, scheduler.config, prompt)
        self.precision = precision
        self._fingerprint = fingerprint(unet, vae, scheduler, prompt_digest)
        self._log_sigmas = _log_sigmas(scheduler.alphas_cumprod)
        self._velocity = scheduler.config.prediction_type == "v_prediction"
        self._unet, self._vae = (_place(module, device, kind) for module in (unet, vae))
        self._prompt = prompt.to(device, kind)
        self._scale: float = self._vae.config.scaling_factor
        self._shift: float = self._vae.config.get("shift_factor") or 0.0
        factor = 2 ** (len(self._vae.config.block_out_channels) - 1)
        self._vae.enable_tiling()
        self._vae.tile_sample_min_size, self._vae.tile_latent_min_size = TILE, TILE // factor
        self.space = Space(channels=self._vae.config.latent_channels, factor=factor, deviation=1.0)

    @classmethod
    def load(cls, location: str, device: str = "cpu", precision: str = "float32") -> DiffusersPrior:
        """Returns a pretrained model, read once per location, device and precision; the last two are kept.

        Arguments:
            location: A directory as ``StableDiffusionPipeline.save_pretrained`` writes it, or a repository of the
                Hugging Face hub, ``owner/name`` or ``owner/name@revision``. Empty: the model that the environment
                variable ``FLIPPROOF_DIFFUSERS_MODEL`` names, else a mirror of Stable Diffusion 2.1 base.
            device: Where to compute, such as cpu or cuda.
            precision: Type to compute in: float32, float16 or bfloat16.

        Raises:
            SpecError: There is no such precision or device.
            WeightsError: The model is missing, unreadable or of another kind; or the hub cannot be reached.
            MissingExtraError: The diffusers or the transformers library is not installed.
        """
        _check_precision(precision)
        check_device(device)
        return _load(located(location), device, precision)

    @property
    def fingerprint(self) -> int:  # noqa: D102 (inherited)
        return self._fingerprint

    def timestep(self, sigma: float) -> float:
        """Returns the timestep, from 0 up, whose noise level is ``sigma`` > 0.

        Raises:
            SpecError: ``sigma`` is not a positive finite number.
        """
        if not 0 < sigma < math.inf:
            raise SpecError(f"expected a noise level above 0, got {sigma}")
        return float(np.interp(math.log(sigma), self._log_sigmas, np.arange(len(self._log_sigmas))))

    @torch.inference_mode()
    def denoise(self, y: Tensor, sigma: float) -> Tensor:
        """Estimates the latents behind noise.

        Arguments:
            y: Noisy latents with shape (B, C, h, w), float32, any h and w from 1.
            sigma: Standard deviation of the noise, above 0.

        Returns:
            The posterior means with the shape, type and device of ``y``.

        Raises:
            SpecError: ``sigma`` is not a positive finite number.
        """
        t, alpha_bar = self.timestep(sigma), 1 / (1 + sigma**2)
        chunk = max(1, BATCH_LATENTS // (y.shape[2] * y.shape[3]))
        output = torch.cat([self._predict(part * math.sqrt(alpha_bar), t) for part in torch.split(y, chunk)])
        if self._velocity:
            return alpha_bar * y - math.sqrt(1 - alpha_bar) * output
        return y - sigma * output

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Tensor:
        """Maps pictures to the modes of their latents, scaled to unit deviation.

        Arguments:
            pictures: Shape (B, 3, H, W) in [-1, 1], float32; H and W are multiples of the factor.

        Returns:
            Latents with shape (B, C, h, w), float32.

        Raises:
            SpecError: H or W is not a multiple of the factor.
        """
        height, width = pictures.shape[2:]
        if height % self.space.factor or width % self.space.factor:
            raise SpecError(f"expected sides that are multiples of {self.space.factor}, got {width}x{height}")
        chunk = max(1, BATCH_PIXELS // (height * width))
        modes = [
            self._vae.encode(self._take(part)).latent_dist.mode().to(pictures) for part in torch.split(pictures, chunk)
        ]
        return (torch.cat(modes) - self._shift) * self._scale

    @torch.inference_mode()
    def decode(self, x: Tensor) -> Tensor:
        """Maps latents (B, C, h, w) to pictures (B, 3, H, W), clamped to [-1, 1], float32."""
        chunk = max(1, BATCH_PIXELS // (x.shape[2] * x.shape[3] * self.space.factor**2))
        parts = torch.split(x / self._scale + self._shift, chunk)
        pictures = [self._vae.decode(self._take(part), return_dict=False)[0].to(x) for part in parts]
        return torch.cat(pictures).clamp(-1, 1)

    def _predict(self, x_t: Tensor, t: float) -> Tensor:
        prompt = self._prompt.expand(len(x_t), -1, -1)
        times = torch.full((len(x_t),), t, device=prompt.device)
        output: Tensor = self._unet(self._take(x_t), times, encoder_hidden_states=prompt, return_dict=False)[0]
        return output.to(x_t)

    def _take(self, x: Tensor) -> Tensor:
        return x.to(self._prompt).to(memory_format=torch.channels_last)


def located(location: str) -> str:
    """Returns a location; that of the default model where it is empty."""
    return location or os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL


@lru_cache(maxsize=2)
def _load(location: str, device: str, precision: str) -> DiffusersPrior:
    with needs_diffusers():
        folder = locate(location, lambda names: select_files(names, precision))
    parts = read(folder, precision)
    return DiffusersPrior(
        parts.unet,
        parts.vae,
        parts.scheduler,
        parts.prompt,
        prompt_digest=parts.prompt_digest,
        device=device,
        precision=precision,
    )


def _log_sigmas(alphas_cumprod: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns ln sigma of every timestep; the infinite ones of a schedule that ends in pure noise are left out."""
    alpha_bar = alphas_cumprod.double().cpu().numpy()
    alpha_bar = alpha_bar[alpha_bar > 0]
    levels: np.ndarray[Any, np.dtype[np.float64]] = np.log((1 - alpha_bar) / alpha_bar) / 2
    if not (len(levels) and np.isfinite(levels).all() and (np.diff(levels) > 0).all()):
        raise WeightsError("expected a noise schedule that rises from timestep to timestep, got another one")
    return levels


def _place(module: nn.Module, device: str, kind: torch.dtype) -> Any:  # noqa: ANN401
    module = nn.Module.to(module.eval().requires_grad_(False), device, kind)  # the override of diffusers warns
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _check_parts(unet: Any, vae: Any, scheduler: Any, prompt: Tensor) -> None:  # noqa: ANN401
    """Checks configurations for what this prior can evaluate."""
    if scheduler.prediction_type not in ("epsilon", "v_prediction"):
        raise WeightsError(f"expected prediction_type epsilon or v_prediction, got {scheduler.prediction_type!r}")
    channels = (unet.in_channels, unet.out_channels)
    if channels != (vae.latent_channels, vae.latent_channels):
        raise WeightsError(f"expected a UNet from and to {vae.latent_channels} channels, got {channels}")
    for name in _UNSUPPORTED:
        if unet.get(name) is not None:
            raise WeightsError(f"expected a UNet conditioned on text embeddings alone, got {name} {unet.get(name)!r}")
    if prompt.ndim != 3 or prompt.shape[0] != 1 or prompt.shape[2] != unet.cross_attention_dim:
        raise WeightsError(f"expected a prompt of shape (1, tokens, {unet.cross_attention_dim}), got {prompt.shape}")


def _check_precision(precision: str) -> torch.dtype:
    """Returns the type of a precision.

    Raises:
        SpecError: There is none, or only for the priors of the package.
    """
    if precision == BYTES:
        raise SpecError(f"expected precision float32, float16 or bfloat16 for a diffusion model, got {precision}")
    return precision_type(precision)
