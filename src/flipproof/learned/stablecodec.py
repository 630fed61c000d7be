"""StableCodec (Zhang, Luo, Li and Liu, 2025, https://arxiv.org/abs/2506.21977): from pictures to bytes and back.

The sender has the encoder of SD-Turbo's autoencoder with an adaptation, the auxiliary encoder and the analysis
transforms; the receiver has the synthesis transform, SD-Turbo's UNet with an adaptation and a wider input, the
auxiliary decoder and the decoder of the autoencoder. Both have the entropy model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flipproof.errors import WeightsError
from flipproof.image import RgbImage
from flipproof.learned import stablecodec_vae
from flipproof.learned.stablecodec_base import Base
from flipproof.learned.stablecodec_elic import AuxiliaryEncoder
from flipproof.learned.stablecodec_entropy import Reader, Rows, Writer, factorised, gaussians, scale_rows
from flipproof.learned.stablecodec_latent import (
    LIMIT,
    Analysis,
    AuxiliaryDecoder,
    ContextModel,
    HyperAnalysis,
    Sizes,
    Synthesis,
    take_quarter,
)
from flipproof.learned.stablecodec_lora import merge
from flipproof.learned.stablecodec_read import auxiliary_file, checkpoint_file, read_tensors
from flipproof.learned.stablecodec_unet import TIMESTEP, LastStep, predict_tiled
from flipproof.prior.load import check_device, precision_type

__all__ = ["MULTIPLE", "EntropyModel", "Receiver", "Sender", "load_receiver", "load_sender", "padded"]

MULTIPLE = 256  # of the sides of a picture: the side information has one place for so many pixels

Tensors: TypeAlias = Mapping[str, NDArray[Any]]


def padded(side: int) -> int:
    """Returns the next multiple of 256.

    Example:
        >>> padded(256), padded(257)
        (256, 512)
    """
    return -(-side // MULTIPLE) * MULTIPLE


class EntropyModel:
    """Between a code with its side information and bytes; on the CPU, the networks in float64.

    Arguments:
        tensors: Those of the latent codec, as in ``state_dict_codec``.
        sizes: Its channels.

    Raises:
        WeightsError: A tensor is missing or misshapen.
    """

    def __init__(self, tensors: Tensors, sizes: Sizes) -> None:
        self.sizes = sizes
        self.networks = _filled(ContextModel(sizes), tensors).double()
        side, self.medians = factorised(_under(tensors, "entropy_bottleneck."))
        if len(self.medians) != sizes.wide // 2:
            raise WeightsError(f"expected quantiles of {sizes.wide // 2} channels, got {len(self.medians)}")
        self.side, self.code = Rows(side), Rows(gaussians())

    @torch.inference_mode()
    def encode(self, code: Tensor, side: Tensor) -> bytes:
        """Codes a code (1, wide, 4 h, 4 w) and its side information (1, wide / 2, h, w)."""
        writer, code = Writer(), code.cpu().double()
        symbols = _integers(side[0].flatten(1).cpu().double().numpy() - self.medians[:, None])
        writer.write(symbols.ravel(), self._side_rows(symbols.shape[1]), self.side)

        def write(stage: int, means: Tensor, scales: Tensor) -> Tensor:
            found = _integers((take_quarter(code, stage) - means).numpy())
            writer.write(found.ravel(), scale_rows(scales.numpy().ravel()), self.code)
            return torch.from_numpy(found)

        self.networks(self._values(symbols, side.shape[2], side.shape[3]), write)
        return writer.close()

    @torch.inference_mode()
    def decode(self, data: bytes, height: int, width: int) -> Tensor:
        """Returns the code (1, wide, 4 h, 4 w) of any bytes whatever, in float64.

        Arguments:
            data: What :meth:`encode` returned, or whatever became of it.
            height: Of the side information.
            width: Of the side information.

        Raises:
            DecodeError: No encoder writes this.
        """
        reader = Reader(data)
        symbols = reader.read(self._side_rows(height * width), self.side).reshape(-1, height * width)

        def read(stage: int, means: Tensor, scales: Tensor) -> Tensor:
            rows = scale_rows(scales.numpy().ravel())
            return torch.from_numpy(reader.read(rows, self.code).reshape(means.shape))

        code: Tensor = self.networks(self._values(symbols, height, width), read)
        return code

    def _side_rows(self, places: int) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.medians)), places)

    def _values(self, symbols: NDArray[np.int32], height: int, width: int) -> Tensor:
        return torch.from_numpy(symbols + self.medians[:, None]).reshape(1, -1, height, width)


class Sender:
    """Makes bytes of pictures.

    Arguments:
        vae: The autoencoder with the adaptation merged, in float32; taken over.
        codec: Tensors of the latent codec.
        auxiliary: Tensors of the auxiliary encoder.
        device: Where to compute.
        precision: Type of the encoders: float32, float16 or bfloat16.

    Raises:
        WeightsError: A tensor is missing or misshapen.
    """

    def __init__(self, vae: nn.Module, codec: Tensors, auxiliary: Tensors, device: str, precision: str) -> None:
        sizes, self._kind = sizes_of(codec), precision_type(precision)
        self._device = device
        hidden, outputs = (_shape(auxiliary, f"analysis_transform.{layer}.weight")[0] for layer in (0, 13))
        self._scale: float = vae.config.scaling_factor  # type: ignore[assignment, union-attr]
        self._vae = _placed(vae, device, self._kind)
        self._vae.decoder = nn.Identity()
        self._auxiliary = _placed(_filled(AuxiliaryEncoder(hidden, outputs), auxiliary), device, self._kind)
        self._analysis = _placed(_filled(Analysis(sizes), _under(codec, "g_a.")), device)
        self._hyper = _placed(_filled(HyperAnalysis(sizes), _under(codec, "h_a.")), device)
        self._entropy = EntropyModel(codec, sizes)

    @torch.inference_mode()
    def encode(self, rgb: RgbImage) -> bytes:
        """Returns the bytes of a picture (H, W, 3), uint8; it is mirrored to multiples of 256."""
        code, side = self.analyse(rgb)
        return self._entropy.encode(code, side)

    @torch.inference_mode()
    def analyse(self, rgb: RgbImage) -> tuple[Tensor, Tensor]:
        """Returns the code (1, wide, h, w) and its side information (1, wide / 2, h / 4, w / 4), not rounded."""
        height, width = rgb.shape[:2]
        borders = ((0, padded(height) - height), (0, padded(width) - width), (0, 0))
        pixels = torch.from_numpy(np.pad(rgb, borders, mode="reflect")).permute(2, 0, 1)[None]
        picture = (pixels.to(self._device).float() / 127.5 - 1).to(self._kind)
        latents = stablecodec_vae.encode(self._vae, picture, stablecodec_vae.ENCODER_TILE).float() * self._scale
        features = self._auxiliary((picture + 1) / 2).float()
        code = torch.nan_to_num(self._analysis(latents, features))
        return code, torch.nan_to_num(self._hyper(code))


class Receiver:
    """Makes pictures of bytes.

    Arguments:
        vae: The autoencoder, in float32; taken over.
        unet: The UNet with the adaptation merged and the wider input, in float32; taken over.
        prompt: The embedded prompt, shape (1, tokens, width).
        last: What the noise schedule says of the last timestep.
        codec: Tensors of the latent codec.
        device: Where to compute.
        precision: Type of UNet and autoencoder: float32, float16 or bfloat16.

    Raises:
        WeightsError: A tensor is missing or misshapen.
    """

    def __init__(
        self,
        vae: nn.Module,
        unet: nn.Module,
        prompt: Tensor,
        last: LastStep,
        codec: Tensors,
        device: str,
        precision: str,
    ) -> None:
        sizes, self._kind = sizes_of(codec), precision_type(precision)
        self._device, self._last, self._latent = device, last, sizes.latent
        self._scale: float = vae.config.scaling_factor  # type: ignore[assignment, union-attr]
        self._vae, self._unet = _placed(vae, device, self._kind), _placed(unet, device, self._kind)
        self._vae.encoder = nn.Identity()
        self._prompt = prompt.to(device, self._kind)
        self._synthesis = _placed(_filled(Synthesis(sizes), _under(codec, "g_s.")), device)
        self._residual = _placed(_filled(AuxiliaryDecoder(sizes), _under(codec, "aux.")), device)
        self._entropy = EntropyModel(codec, sizes)

    @torch.inference_mode()
    def decode(self, data: bytes, height: int, width: int) -> RgbImage:
        """Returns the picture (H, W, 3), uint8, of any bytes whatever.

        Raises:
            DecodeError: No encoder writes this.
        """
        code = self._entropy.decode(data, padded(height) // MULTIPLE, padded(width) // MULTIPLE)
        picture = self.synthesise(code)[0, :, :height, :width]
        levels = torch.nan_to_num(picture, nan=0.0).clamp(-1, 1).add(1).mul(127.5).round()
        array: RgbImage = levels.to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(array)

    @torch.inference_mode()
    def synthesise(self, code: Tensor) -> Tensor:
        """Returns the picture (1, 3, 64 h, 64 w) of a code (1, wide, h, w), about -1 to 1."""
        code = code.to(self._device).float()
        noisy, residual = self._synthesis(code), self._residual(code)
        noise = predict_tiled(self._predict, noisy, self._latent)
        latents = self._last.clean(noisy[:, : self._latent], noise) + residual
        scaled = (latents / self._scale).to(self._kind)
        return stablecodec_vae.decode(self._vae, scaled, stablecodec_vae.DECODER_TILE).float()

    def _predict(self, x: Tensor) -> Tensor:
        time = torch.tensor([TIMESTEP], device=self._device)
        noise: Tensor = self._unet(x.to(self._kind), time, encoder_hidden_states=self._prompt, return_dict=False)[0]
        return noise.float()


@lru_cache(maxsize=2)
def load_sender(weights: str | None, base: str | None, rate_weight: int, device: str, precision: str) -> Sender:
    """Returns what makes bytes of pictures; the last two are kept.

    Arguments:
        weights: Where the authors' files lie, as :func:`flipproof.learned.stablecodec_read.checkpoint_file` takes it.
        base: Where SD-Turbo lies, as :class:`flipproof.learned.stablecodec_base.Base` takes it.
        rate_weight: Which of the authors' files.
        device: Where to compute, such as cpu or cuda.
        precision: float32, float16 or bfloat16.

    Raises:
        SpecError: There is no such precision or device.
        WeightsError: Weights are missing, unreadable or misshapen; or the hub cannot be reached.
        MissingExtraError: The diffusers library or a companion is not installed.
    """
    check_device(device)
    file, auxiliary = checkpoint_file(weights, rate_weight), auxiliary_file(weights)
    vae = Base(base, precision).vae()
    merge(vae, "vae", read_tensors(file, "state_dict_vae/"), "vae_skip")
    return Sender(vae, read_tensors(file, "state_dict_codec/"), read_tensors(auxiliary, "g_a."), device, precision)


@lru_cache(maxsize=1)
def load_receiver(weights: str | None, base: str | None, rate_weight: int, device: str, precision: str) -> Receiver:
    """Returns what makes pictures of bytes; the last one is kept.

    Arguments and errors are those of :func:`load_sender`.
    """
    check_device(device)
    file, parts = checkpoint_file(weights, rate_weight), Base(base, precision)
    codec, tensors, unet = read_tensors(file, "state_dict_codec/"), read_tensors(file, "state_dict_unet/"), parts.unet()
    channels: int = unet.config.block_out_channels[0]  # type: ignore[union-attr, index, assignment]
    unet.conv_in = nn.Conv2d(sizes_of(codec).wide, channels, 3, padding=1)
    first = {name: tensors.pop(f"conv_in.{name}", np.zeros(0)) for name in ("weight", "bias")}
    _filled(unet.conv_in, first)
    merge(unet, "unet", tensors, "default")
    return Receiver(parts.vae(), unet, parts.prompt(), parts.last_step(), codec, device, precision)


def sizes_of(codec: Tensors) -> Sizes:
    """Returns the channels of a latent codec.

    Raises:
        WeightsError: A tensor that tells them is missing.
    """
    middle, narrow = _shape(codec, "g_a.analysis_transform.1.branch1.0.weight")[:2]
    wide = _shape(codec, "h_a.reduction.0.weight")[1]
    return Sizes(_shape(codec, "g_a.pre1.branch1.0.weight")[1], narrow, middle, wide)


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim != 4:
        raise WeightsError(f"expected the weights of a convolution {name}, found none")
    return tensors[name].shape


def _under(tensors: Tensors, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}


def _filled(module: nn.Module, tensors: Tensors) -> Any:  # noqa: ANN401
    """Fills in every parameter of a module; other tensors are not its own."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name not in tensors or tensors[name].shape != tuple(parameter.shape):
                got = tensors[name].shape if name in tensors else "none"
                raise WeightsError(f"{type(module).__name__}: expected {name} {tuple(parameter.shape)}, got {got}")
            parameter.copy_(torch.from_numpy(np.array(tensors[name], np.float32)))
    return module.eval().requires_grad_(False)


def _placed(module: nn.Module, device: str, kind: torch.dtype = torch.float32) -> Any:  # noqa: ANN401
    module = nn.Module.to(module.eval().requires_grad_(False), device, kind)  # the override of diffusers warns
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _integers(values: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(np.nan_to_num(values)).clip(-LIMIT, LIMIT).astype(np.int32)
