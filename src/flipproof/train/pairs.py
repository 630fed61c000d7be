"""Photographs and where chains towards them end: what the sharp prior learns from.

A crop is encoded at several rates, and some of the files meet flipped bits. Kept are the crop and the last states of
the chains, one evaluation from a picture. Every crop is a file of its own and draws from its own seed, so that making
them can stop and go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.rcc import ChainCodec
from flipproof.errors import DecodeError, ImageError, WeightsError
from flipproof.image import RgbImage
from flipproof.prior.remembering import RememberingPrior
from flipproof.reconstruction import approached
from flipproof.schedule import Level
from flipproof.seeds import generator
from flipproof.train.checkpoint import read_tensors, write_tensors
from flipproof.train.data import PhotoSet
from flipproof.train.pyramid import Pyramid

__all__ = ["ALIGNMENT", "Batch", "Pair", "PairRecipe", "Pairs", "make_pairs"]

ALIGNMENT = 16
"""Places of patches are multiples of it, so that the coarse grids of chains lie as they do in whole pictures."""


@dataclass(frozen=True)
class PairRecipe:
    """Everything that, with photographs and codec, fixes the pairs.

    Attributes:
        crops: How many crops.
        sizes: Sides of crops in pixels, in turn; photographs too small for one are taken at the smallest.
        rates: Files of each crop, at rates log-uniform and stratified.
        lowest: Least rate in bits per pixel.
        highest: And the greatest.
        damaged: Share of the files that meet flipped bits.
        ber: Their bit error rate.
        seed: Root of every draw.
    """

    crops: int = 900
    sizes: tuple[int, ...] = (256, 512)
    rates: int = 3
    lowest: float = 0.03
    highest: float = 1.0
    damaged: float = 0.15
    ber: float = 1e-3
    seed: int = 0

    def rates_of(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws the rates of a crop, ascending."""
        strata = (np.arange(self.rates) + rng.random(self.rates)) / self.rates
        drawn: NDArray[np.float64] = self.lowest * (self.highest / self.lowest) ** strata
        return drawn

    def size_of(self, index: int, photo: PhotoSet) -> int:
        """Returns the side of a crop of a photograph."""
        largest = max(min(file.shape[:2]) for group in photo.groups for file in group)
        size = self.sizes[index % len(self.sizes)]
        return size if size <= largest else min(self.sizes)


@dataclass(frozen=True)
class Pair:
    """A crop, and states that chains towards it end with.

    Attributes:
        original: The crop (H, W, 3), uint8.
        states: Of each chain (3, H, W), or (3, H / 2, W / 2) where the finest detail is missing, float16.
        sigma: Noise of their samples (R,), float32.
    """

    original: RgbImage
    states: tuple[NDArray[np.float16], ...]
    sigma: NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Patches of pairs.

    Attributes:
        original: Of photographs (B, 3, H, W), in [-1, 1].
        y: Of states (B, 3, H, W); where the finest detail is missing, samples repeated over 2x2 blocks.
        sigma: Their noise (B,).
        missing: 1 where the finest detail is, else 0, with shape (B,).
    """

    original: Tensor
    y: Tensor
    sigma: Tensor
    missing: Tensor

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on a device."""
        return Batch(*(tensor.to(device) for tensor in (self.original, self.y, self.sigma, self.missing)))


@dataclass(frozen=True)
class Pairs:
    """Pairs held in memory.

    Attributes:
        pairs: At least one, each with at least one state.
    """

    pairs: tuple[Pair, ...]

    @classmethod
    def load(cls, folder: Path) -> Pairs:
        """Reads every file that :func:`make_pairs` left in a folder.

        Raises:
            ImageError: The folder has none.
            WeightsError: A file is something else.
        """
        pairs = tuple(pair for path in sorted(folder.glob("*.safetensors")) if (pair := _read(path)).states)
        if not pairs:
            raise ImageError(f"expected pairs in {folder}, got none")
        return cls(pairs)

    def draw(self, count: int, size: int, rng: np.random.Generator) -> Batch:
        """Draws patches: a crop, larger ones more often, one of its states, a place, a flip and a turn.

        Arguments:
            count: How many.
            size: Side in pixels, at most that of the smallest crop.
            rng: Source of every choice.
        """
        original, y, sigma, missing = zip(*(self._patch(size, rng) for _ in range(count)), strict=True)
        numbers = (torch.tensor(np.array(values, np.float32)) for values in (sigma, missing))
        return Batch(_in_range(np.stack(original)), torch.from_numpy(np.stack(y)).float(), *numbers)

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """Of all pixels, those of each crop."""
        pixels = np.array([pair.original[..., 0].size for pair in self.pairs], np.float64)
        shares: NDArray[np.float64] = pixels / pixels.sum()
        return shares

    def _patch(
        self, size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float16], np.float32, bool]:
        pair = self.pairs[rng.choice(len(self.pairs), p=self._shares)]
        chosen = int(rng.integers(len(pair.states)))
        state, sides = pair.states[chosen], pair.original.shape[:2]
        grid = 2 if state.shape[1] < sides[0] else 1
        top, left = (ALIGNMENT * rng.integers((side - size) // ALIGNMENT + 1) for side in sides)
        flip, turns = int(rng.choice((-1, 1))), int(rng.integers(4))

        def seen(picture: NDArray[Any], grid: int) -> NDArray[Any]:
            rows, columns = (slice(start // grid, (start + size) // grid) for start in (top, left))
            part = picture[:, rows, columns].repeat(grid, axis=1).repeat(grid, axis=2)
            return np.rot90(part[:, :, ::flip], turns, axes=(1, 2))

        return seen(pair.original.transpose(2, 0, 1), 1), seen(state, grid), pair.sigma[chosen], grid > 1


def make_pairs(
    recipe: PairRecipe, photos: PhotoSet, codec: ChainCodec, out: Path, report: Callable[[int], None]
) -> None:
    """Makes the pairs that a folder lacks, one file to a crop.

    Arguments:
        recipe: What to make.
        photos: Photographs; none is taken again before all were taken.
        codec: Any with a parameter ``bpp``.
        out: Folder for the files.
        report: Receives the number of every crop that is done.
    """
    out.mkdir(parents=True, exist_ok=True)
    for index, photo in enumerate(_photographs(recipe, photos)):
        path = out / f"{index:06d}.safetensors"
        if not path.exists():
            write_tensors(path, _pair(recipe, index, photo, codec))
        report(index)


def _photographs(recipe: PairRecipe, photos: PhotoSet) -> Iterator[PhotoSet]:
    """Yields photographs in random order, each once in every round."""
    count = len(photos.groups)
    for index in range(recipe.crops):
        order = generator(purpose="order", seed=recipe.seed, round=index // count).permutation(count)
        yield PhotoSet((photos.groups[order[index % count]],))


def _pair(recipe: PairRecipe, index: int, photo: PhotoSet, codec: ChainCodec) -> dict[str, Tensor]:
    rng = generator(purpose="pairs", seed=recipe.seed, index=index)
    crop = Pyramid(photo, recipe.size_of(index, photo)).draw(1, rng)[0]
    original: RgbImage = np.ascontiguousarray(crop.transpose(1, 2, 0))
    known = codec.with_parameters(prior=RememberingPrior(codec.denoiser))
    tensors = {"original": torch.from_numpy(original)}
    sigma: list[float] = []
    for rate in recipe.rates_of(rng):
        coder = known.with_rate(float(rate))
        data = coder.encode(original)
        if rng.random() < recipe.damaged:
            data = BinarySymmetricChannel(recipe.ber).corrupt(data, rng)
        if end := _end(coder, data):
            y, level = end
            tensors[f"state.{len(sigma)}"] = y[0].half()
            sigma.append(level.sigma)
    return tensors | {"sigma": torch.tensor(sigma)}


@torch.inference_mode()
def _end(coder: ChainCodec, data: bytes) -> tuple[Tensor, Level] | None:
    """Returns where a chain ends, one evaluation from a picture; None for a file that is lost or has no step."""
    try:
        y, level = coder.end(data)
    except DecodeError:
        return None
    return approached(coder.denoiser, y, level) if math.isfinite(level.sigma) else None


def _read(path: Path) -> Pair:
    tensors, _ = read_tensors(path)
    try:
        original, sigma = (tensors[name].numpy() for name in ("original", "sigma"))
        states = tuple(tensors[f"state.{index}"].numpy() for index in range(len(sigma)))
    except KeyError as error:
        raise WeightsError(f"expected pairs in {path}, got no {error}") from error
    return Pair(original, states, sigma)


def _in_range(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).float() / 127.5 - 1
