"""The network of the codec ``hyperprior`` as it is shipped: what coder and decoder must share bit by bit is integer.

A weights file (safetensors) holds the autoencoder and the hyper-encoder in half precision, the gains, the hyper-decoder
in integers (:mod:`flipproof.learned.integer`), the distributions of the hyper-latents as integer sums of frequencies,
and the scales of the Gaussians in units of 2^-16. Only the first two may differ in their last bits between machines,
and with them the last bits of a picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor
from torch.nn import functional

from flipproof.errors import WeightsError
from flipproof.image import RgbImage
from flipproof.learned.entropy import Tables
from flipproof.learned.hyperprior import ANCHORS, HYPER, LATENTS, SCALES, Hyperprior, between, scale_of
from flipproof.learned.integer import LEVELS, MEAN_FRACTION, IntegerSynthesis, integers_of
from flipproof.learned.weights import HYPERPRIOR_SHA256

__all__ = ["FrozenHyperprior", "freeze", "hyper_rows"]

BANDS = 16
"""Sets of distributions of the hyper-latents, each for 16 levels."""
MOST_HYPER, MOST_SYMBOL = 127, 1023
"""Bounds of hyper-latents and symbols; what damaged streams hold beyond them is brought back."""
TILE = 64
"""Side in latents of the pieces that the autoencoder works on."""
MARGIN = 4
"""Latents around a piece that it sees besides: more than either half looks at."""
STRIDE, HYPER_STRIDE = 16, 64
_TAIL = 1e-6
_FLOAT_PARTS = ("analysis.", "synthesis.", "hyper_analysis.")


@dataclass(frozen=True, eq=False, repr=False)
class FrozenHyperprior:
    """Autoencoder and entropy models.

    Attributes:
        net: Only the parts in floating point are used.
        integer: The hyper-decoder.
        hyper_tables: A row for each band and channel of the hyper-latents.
        tables: A row for each scale of the symbols.
        device: Where to compute.
    """

    net: Hyperprior
    integer: IntegerSynthesis
    hyper_tables: Tables
    tables: Tables
    device: str

    @classmethod
    def load(cls, weights: str | None = None, device: str = "cpu") -> FrozenHyperprior:
        """Returns the network of a weights file, None for the one in the package; loaded once per file and device.

        Raises:
            WeightsError: The file is missing, altered or unreadable.
        """
        return _shipped(device) if weights is None else _stored(weights, device)

    @classmethod
    def from_bytes(cls, weights: bytes, device: str = "cpu") -> FrozenHyperprior:
        """Returns the network stored in the bytes of a safetensors file.

        Raises:
            WeightsError: The bytes are not safetensors, or the tensors do not fit the network.
        """
        try:
            tensors = safetensors.load(weights)
            net = Hyperprior()
            floats = {name: t.float() for name, t in tensors.items() if name.startswith((*_FLOAT_PARTS, "log_gain"))}
            unknown = net.load_state_dict(floats, strict=False).unexpected_keys
            absent = [
                name for name, _ in net.named_parameters() if name.startswith(_FLOAT_PARTS) and name not in floats
            ]
            if unknown or absent or "log_gain" not in floats:
                raise WeightsError(f"the weights do not fit the network: {(unknown + absent + ['log_gain'])[0]}")
            cdfs, lengths, offsets = (tensors[f"hyper.{name}"].numpy() for name in ("cdfs", "lengths", "offsets"))
            scales = tensors["scales"].double().numpy() / 2**16
            if len(cdfs) != BANDS * HYPER or len(scales) != SCALES:
                raise WeightsError(f"expected {BANDS * HYPER} and {SCALES} rows, got {len(cdfs)} and {len(scales)}")
            tables = Tables.from_cdfs(cdfs, lengths.tolist(), offsets.tolist()), Tables.gaussian(scales)
            integer = IntegerSynthesis.from_tensors(tensors, device)
        except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
            raise WeightsError(f"unreadable weights: {str(error).splitlines()[0]}") from error
        net = net.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
        return cls(net, integer, *tables, device)

    @cached_property
    def gains(self) -> Tensor:
        """Gains (256, 128, 1, 1) of all levels."""
        gains = between(self.net.log_gain.cpu(), torch.linspace(0, ANCHORS - 1, LEVELS)).exp()
        return gains[:, :, None, None]

    @torch.inference_mode()
    def analysed(self, picture: RgbImage) -> Tensor:
        """Returns the latents (128, h, w) of a picture of any size, h and w being multiples of 4."""
        missing = [(0, -side % HYPER_STRIDE) for side in picture.shape[:2]]
        padded = torch.from_numpy(np.pad(picture, (*missing, (0, 0)), mode="edge")).permute(2, 0, 1)
        size = (LATENTS, padded.shape[1] // STRIDE, padded.shape[2] // STRIDE)
        return _tiled(lambda x: self.net.analyse(x / 255), padded, size, STRIDE, 1, self.device)

    @torch.inference_mode()
    def synthesised(self, latents: Tensor, height: int, width: int) -> RgbImage:
        """Returns the picture of latents (128, h, w), whatever they are, cut to a size."""
        size = (3, latents.shape[1] * STRIDE, latents.shape[2] * STRIDE)
        x = _tiled(lambda y: _bytes(self.net.synthesise(y)), latents, size, 1, STRIDE, self.device)
        return np.ascontiguousarray(x[:, :height, :width].permute(1, 2, 0).numpy())

    def compressed(self, latents: Tensor, level: int) -> tuple[bytes, bytes]:
        """Returns the streams of latents (128, h, w) at a level from 0 to 255."""
        scaled = latents * self.gains[level]
        z = self._hyper_analysed(scaled)
        gaussians = self.integer.gaussians(z.to(self.device), level)
        symbols = (scaled - gaussians.means / 2**MEAN_FRACTION).round().clamp(-MOST_SYMBOL, MOST_SYMBOL).int()
        first = self.hyper_tables.encode(_flat(z), _flat(hyper_rows(z.shape, level)))
        return first, self.tables.encode(_flat(symbols), _flat(gaussians.indices))

    def decompressed(self, streams: tuple[bytes, bytes], height: int, width: int, level: int) -> Tensor:
        """Returns the latents (128, h, w) of a picture of a size, from any streams whatever."""
        shape = (HYPER, -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE))
        hyper = self.hyper_tables.decode(streams[0], _flat(hyper_rows(shape, level)))
        z = torch.from_numpy(hyper).view(shape).clamp(-MOST_HYPER, MOST_HYPER)
        gaussians = self.integer.gaussians(z.to(self.device), level)
        symbols = torch.from_numpy(self.tables.decode(streams[1], _flat(gaussians.indices)))
        symbols = symbols.view(gaussians.means.shape).clamp(-MOST_SYMBOL, MOST_SYMBOL)
        latents: Tensor = (symbols + gaussians.means / 2**MEAN_FRACTION) / self.gains[level]
        return latents

    @torch.inference_mode()
    def _hyper_analysed(self, scaled: Tensor) -> Tensor:
        z: Tensor = self.net.hyper_analysis(scaled.to(self.device)[None])[0]
        return z.round().clamp(-MOST_HYPER, MOST_HYPER).int().cpu()


def freeze(net: Hyperprior) -> dict[str, Tensor]:
    """Returns the tensors of a weights file for a trained network.

    Raises:
        WeightsError: The hyper-decoder does not fit integers.
    """
    state = net.state_dict()
    tensors = {name: t.half().contiguous() for name, t in state.items() if name.startswith(_FLOAT_PARTS)}
    tensors["log_gain"] = state["log_gain"].float()
    scales = (scale_of(torch.arange(SCALES).double()) * 2**16).round().to(torch.int32)
    return tensors | integers_of(net) | _hyper_tables(net) | {"scales": scales}


@torch.no_grad()
def _hyper_tables(net: Hyperprior) -> dict[str, Tensor]:
    """Rounds the distributions of the hyper-latents, at the middle of each band, to sums of frequencies out of 2^16."""
    edges = torch.arange(-MOST_HYPER, MOST_HYPER + 2).float() - 0.5
    rows, offsets = [], []
    for band in range(BANDS):
        u = torch.tensor([(band + 0.5) / BANDS * (ANCHORS - 1)])
        cumulative = net.z_cumulative(edges.expand(1, HYPER, 1, -1), u)[0, :, 0].double()
        for channel in cumulative:
            likely = (channel.diff() > _TAIL).nonzero()[:, 0]
            first, last = (int(likely[0]), int(likely[-1])) if len(likely) else (MOST_HYPER, MOST_HYPER)
            masses = channel.diff()[first : last + 1]
            frequencies = (masses / masses.sum() * (2**16 - 1)).round().long().clamp_min(1)
            frequencies[frequencies.argmax()] += 2**16 - 1 - frequencies.sum()
            rows.append(functional.pad(torch.cat([frequencies, torch.ones(1).long()]).cumsum(0), (1, 0)))
            offsets.append(first - MOST_HYPER)
    widest = max(map(len, rows))
    return {
        "hyper.cdfs": torch.stack([functional.pad(row, (0, widest - len(row))) for row in rows]).to(torch.int32),
        "hyper.lengths": torch.tensor([len(row) for row in rows], dtype=torch.int32),
        "hyper.offsets": torch.tensor(offsets, dtype=torch.int32),
    }


def _tiled(
    work: Callable[[Tensor], Tensor], x: Tensor, size: tuple[int, int, int], read: int, write: int, device: str
) -> Tensor:
    """Applies a convolutional network piece by piece, so that memory hardly grows with the picture.

    Arguments:
        work: From (1, C, h read, w read) to (1, D, h write, w write).
        x: Input (C, H, W).
        size: Shape of the output.
        read: Samples of input per latent, along a side.
        write: Samples of output per latent, along a side.
        device: Where to work.
    """
    output = None
    for top in range(0, size[1] // write, TILE):
        for left in range(0, size[2] // write, TILE):
            above, before = max(0, top - MARGIN), max(0, left - MARGIN)
            piece = x[:, above * read : (top + TILE + MARGIN) * read, before * read : (left + TILE + MARGIN) * read]
            made = work(piece.to(device)[None].contiguous(memory_format=torch.channels_last))[0].cpu()
            made = made[:, (top - above) * write :, (left - before) * write :][:, : TILE * write, : TILE * write]
            output = made.new_empty(size) if output is None else output
            output[:, top * write :, left * write :][:, : TILE * write, : TILE * write] = made
    return x.new_empty(size) if output is None else output


def _bytes(x: Tensor) -> Tensor:
    """Rounds samples, whatever they are, from [0, 1] to bytes."""
    return (x.nan_to_num(0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def hyper_rows(shape: Sequence[int], level: int) -> Tensor:
    """Returns the rows of tables for hyper-latents of a shape (40, h, w)."""
    first = level * BANDS // LEVELS * HYPER
    return (first + torch.arange(HYPER))[:, None, None].expand(*shape)


def _flat(x: Tensor) -> NDArray[np.int32]:
    return x.to(torch.int32).reshape(-1).numpy()


@cache
def _shipped(device: str) -> FrozenHyperprior:
    file = resources.files("flipproof.learned") / "weights" / "hyperprior.safetensors"
    try:
        weights = file.read_bytes()
    except OSError as error:
        raise WeightsError(f"the shipped weights are missing: {error}") from error
    digest = hashlib.sha256(weights).hexdigest()
    if digest != HYPERPRIOR_SHA256:
        raise WeightsError(f"the shipped weights are altered: expected SHA-256 {HYPERPRIOR_SHA256}, got {digest}")
    return FrozenHyperprior.from_bytes(weights, device)


@cache
def _stored(path: str, device: str) -> FrozenHyperprior:
    try:
        weights = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {error.strerror}") from error
    return FrozenHyperprior.from_bytes(weights, device)
