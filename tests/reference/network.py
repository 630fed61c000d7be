"""The network F of the denoiser ``small``."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

import numpy as np
import torch
from safetensors.numpy import load
from torch import Tensor
from torch.nn.functional import conv2d


@cache
def weights_file() -> bytes:
    return (resources.files("flipproof.prior") / "weights" / "small.safetensors").read_bytes()


@cache
def fingerprint() -> int:
    return int(hashlib.sha256(weights_file()).hexdigest()[:8], 16)


@cache
def weights() -> dict[str, Tensor]:
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in load(weights_file()).items()}


@torch.inference_mode()
def network(x: np.ndarray, c: float, u: float) -> np.ndarray:
    """F(x, c, u) of one picture (3, h, w) with sides that are multiples of 16."""
    e = _embedding(c, u)
    h = _blocks("enc.0", _conv("stem", _unshuffle(torch.from_numpy(x.astype(np.float32))), padding=1), e)
    skips = [h]
    for i in (1, 2, 3):
        h = _blocks(f"enc.{i}", _conv(f"down.{i - 1}", h, stride=2), e)
        skips.append(h)
    for i in (2, 1, 0):
        h = _blocks(f"dec.{i}", _shuffle(_conv(f"up.{i}", h)) + skips[i], e)
    return _shuffle(_conv("head", h, padding=1)).numpy()


def _embedding(c: float, u: float) -> Tensor:
    angles = c * weights()["freqs"]
    features = torch.cat([torch.tensor([c]), torch.sin(angles), torch.cos(angles), torch.tensor([u])])
    return _silu(_linear("embed.2", _silu(_linear("embed.0", features))))


def _blocks(name: str, h: Tensor, e: Tensor) -> Tensor:
    number = 0
    while f"{name}.{number}.film.weight" in weights():
        h = _block(f"{name}.{number}", h, e)
        number += 1
    return h


def _block(name: str, h: Tensor, e: Tensor) -> Tensor:
    alpha, beta = _linear(f"{name}.film", e)[:, None, None].chunk(2)
    hidden = torch.relu(_conv(f"{name}.conv1", h, padding=1) * (1 + alpha) + beta)
    return h + _conv(f"{name}.conv2", hidden, padding=1)


def _conv(name: str, h: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    return conv2d(h, weights()[f"{name}.weight"], weights()[f"{name}.bias"], stride=stride, padding=padding)


def _linear(name: str, h: Tensor) -> Tensor:
    return weights()[f"{name}.weight"] @ h + weights()[f"{name}.bias"]


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
