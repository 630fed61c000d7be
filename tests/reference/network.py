"""The network F of the denoiser ``small``, with the weights that a fingerprint names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import torch
from safetensors.numpy import load
from torch import Tensor
from torch.nn.functional import conv2d


@cache
def weights_files() -> dict[int, bytes]:
    """The weights files of the package by their fingerprints."""
    folder = resources.files("flipproof.prior") / "weights"
    files = [file.read_bytes() for file in folder.iterdir() if file.name.endswith(".safetensors")]
    return {int(hashlib.sha256(data).hexdigest()[:8], 16): data for data in files}


@cache
def network_of(fingerprint: int) -> Network | None:
    """The network with the weights of a fingerprint; None if there are none."""
    data = weights_files().get(fingerprint)
    if data is None:
        return None
    return Network({name: torch.from_numpy(values.astype(np.float32)) for name, values in load(data).items()})


@dataclass(frozen=True)
class Network:
    """F; the weights say how many blocks it has, and of how many channels."""

    weights: dict[str, Tensor]

    @torch.inference_mode()
    def __call__(self, x: np.ndarray, c: float, u: float) -> np.ndarray:
        """F(x, c, u) of one picture (3, h, w) with sides that are multiples of 16."""
        e = self._embedding(c, u)
        h = self._blocks("enc.0", self._conv("stem", _unshuffle(torch.from_numpy(x.astype(np.float32))), padding=1), e)
        skips = [h]
        for i in (1, 2, 3):
            h = self._blocks(f"enc.{i}", self._conv(f"down.{i - 1}", h, stride=2), e)
            skips.append(h)
        for i in (2, 1, 0):
            h = self._blocks(f"dec.{i}", _shuffle(self._conv(f"up.{i}", h)) + skips[i], e)
        return _shuffle(self._conv("head", h, padding=1)).numpy()

    def _embedding(self, c: float, u: float) -> Tensor:
        angles = c * self.weights["freqs"]
        features = torch.cat([torch.tensor([c]), torch.sin(angles), torch.cos(angles), torch.tensor([u])])
        return _silu(self._linear("embed.2", _silu(self._linear("embed.0", features))))

    def _blocks(self, name: str, h: Tensor, e: Tensor) -> Tensor:
        number = 0
        while f"{name}.{number}.film.weight" in self.weights:
            h = self._block(f"{name}.{number}", h, e)
            number += 1
        return h

    def _block(self, name: str, h: Tensor, e: Tensor) -> Tensor:
        alpha, beta = self._linear(f"{name}.film", e)[:, None, None].chunk(2)
        hidden = torch.relu(self._conv(f"{name}.conv1", h, padding=1) * (1 + alpha) + beta)
        return h + self._conv(f"{name}.conv2", hidden, padding=1)

    def _conv(self, name: str, h: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return conv2d(h, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], stride=stride, padding=padding)

    def _linear(self, name: str, h: Tensor) -> Tensor:
        return self.weights[f"{name}.weight"] @ h + self.weights[f"{name}.bias"]


def _silu(v: Tensor) -> Tensor:
    return v / (1 + torch.exp(-v))


def _unshuffle(x: Tensor) -> Tensor:
    channels, rows, columns = x.shape
    blocks = x.view(channels, rows // 2, 2, columns // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3).reshape(4 * channels, rows // 2, columns // 2)


def _shuffle(x: Tensor) -> Tensor:
    channels, rows, columns = x.shape
    blocks = x.view(channels // 4, 2, 2, rows, columns)
    return blocks.permute(0, 3, 1, 4, 2).reshape(channels // 4, 2 * rows, 2 * columns)
