r"""MS-ILLM ready for use: pictures to two entropy-coded streams and back.

**Arithmetic.** Decoder and encoder must choose the same row of the tables for every latent. They do so by comparing
scales that a network computed with 63 limits, and a scale next to a limit may fall on either side of it where
processors round differently; then everything after it is lost. The hyper-decoders therefore run on the CPU in float64,
with float32 weights and integer inputs. A rounding error of 1e-14 moves one of a picture's 10^5 scales over a limit
about once in 10^7 pictures; one of 1e-6, as in float32, would do so in nearly every one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipproof.errors import FlipproofError, SpecError, WeightsError
from flipproof.image import RgbImage
from flipproof.learned.density import density_tables
from flipproof.learned.entropy import Tables
from flipproof.learned.illm import DENSITY_LAYERS, Illm
from flipproof.learned.illm_weights import SCALE_TABLE, arrays_of, check_tensors, read_tensors

__all__ = ["LADDER", "LIMIT", "IllmModel", "load_model"]

LIMIT = 2**15
"""Largest magnitude of an integer that enters a network; damaged streams hold larger ones."""
LADDER = np.exp(np.linspace(np.log(0.11), np.log(256), 64))
"""Scales of the latents' tables where a checkpoint holds none."""

_UNIT = 64  # pixels of a hyper-latent, along a side
_PER_HYPER = 4  # latents of a hyper-latent, along a side

Integers = NDArray[np.int32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IllmModel:
    """One model: networks, and the tables of their integers.

    Attributes:
        net: The networks; the hyper-decoders are in float64, on the CPU.
        hyper_tables: One row per channel of z.
        latent_tables: One row per scale.
        scales: Upper limits of the scales of all rows of ``latent_tables`` but the last.
        medians: Of the channels of z, (hyper, 1, 1).
        device: Where encoder and generator are.
    """

    net: Illm
    hyper_tables: Tables
    latent_tables: Tables
    scales: Doubles
    medians: Tensor
    device: str = "cpu"

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: str = "cpu") -> IllmModel:
        """Builds the model of a checkpoint; widths follow from the shapes.

        Arguments:
            tensors: Under the names of the published checkpoints.
            device: Where to compute.

        Raises:
            WeightsError: A tensor is missing, of another shape or unknown, or tables cannot be made of it.
        """
        widths = check_tensors(tensors)
        with torch.device("meta"):
            net = Illm(widths)
        net.load_state_dict({name: tensors[name] for name in net.state_dict()}, assign=True)
        net.eval().requires_grad_(False).to(device)
        net.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.hyper_synthesis_mean.to("cpu", torch.float64)
        net.hyper_synthesis_scale.to("cpu", torch.float64)
        medians = tensors["hyper_bottleneck.quantiles"][:, 0, 1, None, None].double()
        try:
            hyper, (latent, scales) = _hyper_tables(tensors), _latent_tables(tensors)
        except SpecError as error:
            raise WeightsError(f"tables of probabilities: {error}") from error
        return cls(net, hyper, latent, scales[:-1], medians, device)

    @torch.inference_mode()
    def compress(self, rgb: RgbImage) -> tuple[bytes, bytes]:
        """Returns the streams of hyper-latents and of latents.

        Arguments:
            rgb: A picture (H, W, 3). It is mirrored at the right and at the bottom up to multiples of 64.
        """
        missing = [(0, -side % _UNIT) for side in rgb.shape[:2]]
        padded = np.pad(rgb, [*missing, (0, 0)], mode="reflect")
        pictures = torch.from_numpy(padded).to(self.device).permute(2, 0, 1)[None].float() / 255
        latents = self.net.encoder(pictures.contiguous(memory_format=torch.channels_last))
        hyper = _integers(self.net.hyper_analysis(latents)[0].cpu().double() - self.medians)
        means, rows = self._parameters(hyper)
        symbols = _integers(latents[0].cpu().double() - means)
        return self.hyper_tables.encode(hyper.ravel(), self._channels(hyper)), self.latent_tables.encode(
            symbols.ravel(), rows
        )

    @torch.inference_mode()
    def decompress(self, streams: tuple[bytes, bytes], height: int, width: int) -> RgbImage:
        """Returns the picture that streams show, whatever they hold.

        Arguments:
            streams: As :meth:`compress` returned them.
            height: Of the picture.
            width: Of the picture.
        """
        shape = len(self.medians), -(-height // _UNIT), -(-width // _UNIT)
        hyper = np.zeros(shape, np.int32)
        hyper = self.hyper_tables.decode(streams[0], self._channels(hyper)).reshape(shape).clip(-LIMIT, LIMIT)
        means, rows = self._parameters(hyper)
        symbols = self.latent_tables.decode(streams[1], rows).reshape(means.shape).clip(-LIMIT, LIMIT)
        latents = (torch.from_numpy(symbols) + means).float()[None].to(self.device)
        pictures = self.net.decoder(latents.contiguous(memory_format=torch.channels_last))
        values = pictures[0, :, :height, :width].nan_to_num(0.5).clamp(0, 1)
        return np.ascontiguousarray((values * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).cpu().numpy())

    def parameters(self, hyper: Integers) -> tuple[Tensor, Tensor]:
        """Returns means and scales of the latents (latents, 4 h, 4 w), in float64, for integers (hyper, h, w)."""
        known = (torch.from_numpy(hyper) + self.medians)[None]
        return self.net.hyper_synthesis_mean(known)[0], self.net.hyper_synthesis_scale(known)[0]

    def _parameters(self, hyper: Integers) -> tuple[Tensor, NDArray[np.int64]]:
        """Returns the means of the latents and, flat, the rows that they are coded under."""
        means, scales = self.parameters(hyper)
        return means, np.searchsorted(self.scales, scales.numpy().ravel(), side="left")

    def _channels(self, hyper: Integers) -> NDArray[np.int64]:
        channels, height, width = hyper.shape
        return np.repeat(np.arange(channels), height * width)


@lru_cache(maxsize=2)
def load_model(path: Path, device: str) -> IllmModel:
    """Returns the model of a checkpoint; the last two are kept.

    Raises:
        WeightsError: The file cannot be read, or holds no such model.
    """
    try:
        return IllmModel.from_tensors(read_tensors(path), device)
    except FlipproofError as error:
        raise WeightsError(f"{path}: {error}") from error


def _integers(values: Tensor) -> Integers:
    return values.round().nan_to_num(0.0).clamp(-LIMIT, LIMIT).to(torch.int32).numpy()


def _hyper_tables(tensors: Mapping[str, Tensor]) -> Tables:
    parts = arrays_of(tensors, "hyper_bottleneck.")
    return _stored(parts, len(parts["quantiles"])) or density_tables(parts, DENSITY_LAYERS)


def _latent_tables(tensors: Mapping[str, Tensor]) -> tuple[Tables, Doubles]:
    """Returns the tables of the latents and the scales of their rows."""
    parts = arrays_of(tensors, "latent_bottleneck.")
    given = parts.get(SCALE_TABLE.rpartition(".")[2], np.zeros(0))
    scales = given.astype(np.float64) if given.size else LADDER
    if scales.ndim != 1 or not (np.diff(scales) > 0).all():
        raise SpecError(f"expected scales that ascend, got an array of shape {scales.shape}")
    return _stored(parts, len(scales)) or Tables.gaussian(scales), scales


def _stored(parts: Mapping[str, NDArray[np.int64]], rows: int) -> Tables | None:
    """Returns the tables that a checkpoint holds, if it does."""
    names = ("_quantized_cdf", "_cdf_length", "_offset")
    if any(parts.get(name, np.zeros(0)).size == 0 for name in names):
        return None
    cdfs, lengths, offsets = (parts[name] for name in names)
    if lengths.shape != (rows,) or offsets.shape != (rows,):
        raise SpecError(f"expected {rows} rows, got lengths {lengths.shape} and offsets {offsets.shape}")
    return Tables.from_cdfs(cdfs, lengths.tolist(), offsets.tolist())
