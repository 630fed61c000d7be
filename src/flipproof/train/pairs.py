"""Photographs and what a codec makes of them: what the refiner learns from.

A crop is encoded at several rates, and some of the files meet flipped bits. Kept are the crop, the pictures of least
squared error, and where their chains ended. Every crop is a file of its own and draws from its own seed, so that
making them can stop and go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipproof import container
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.rcc import ChainCodec
from flipproof.errors import ImageError, WeightsError
from flipproof.image import RgbImage
from flipproof.prior.refiner import condition
from flipproof.prior.remembering import RememberingPrior
from flipproof.seeds import generator
from flipproof.train.checkpoint import read_tensors, write_tensors
from flipproof.train.data import PhotoSet
from flipproof.train.pyramid import Pyramid

__all__ = ["ALIGNMENT", "Batch", "PairRecipe", "Pairs", "make_pairs"]

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
    sizes: tuple[int, ...] = (256,) * 9 + (384,)
    rates: int = 3
    lowest: float = 0.03
    highest: float = 0.6
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
class Batch:
    """Patches of pairs, in [-1, 1].

    Attributes:
        original: Of photographs (B, 3, H, W).
        decoded: Of what the codec makes of them (B, 3, H, W).
        c: Where the chains ended (B,), see :func:`flipproof.prior.refiner.condition`.
    """

    original: Tensor
    decoded: Tensor
    c: Tensor

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on a device."""
        return Batch(self.original.to(device), self.decoded.to(device), self.c.to(device))

    def shifted(self, top: int, left: int, less: int) -> Batch:
        """Returns the part of the patches that begins at a place and has so many rows and columns less."""
        rows, columns = slice(top, top - less), slice(left, left - less)
        return Batch(self.original[..., rows, columns], self.decoded[..., rows, columns], self.c)


@dataclass(frozen=True)
class Pairs:
    """Pairs held in memory.

    Attributes:
        crops: For each crop the original (H, W, 3), the decoded pictures (R, H, W, 3), all uint8, and their conditions
            (R,).
    """

    crops: tuple[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]], ...]

    @classmethod
    def load(cls, folder: Path) -> Pairs:
        """Reads every file that :func:`make_pairs` left in a folder.

        Raises:
            ImageError: The folder has none.
            WeightsError: A file is something else.
        """
        crops = [_read(path) for path in sorted(folder.glob("*.safetensors"))]
        some = tuple(crop for crop in crops if len(crop[2]))
        if not some:
            raise ImageError(f"expected pairs in {folder}, got none")
        return cls(some)

    def draw(self, count: int, size: int, rng: np.random.Generator) -> Batch:
        """Draws patches: a crop, one of its pictures, a place, a flip and a turn, all uniform.

        Arguments:
            count: How many.
            size: Side in pixels, at most that of the smallest crop.
            rng: Source of every choice.
        """
        original, decoded, c = zip(*(self._patch(size, rng) for _ in range(count)), strict=True)
        return Batch(_pictures(original), _pictures(decoded), torch.tensor(np.array(c, np.float32)))

    def _patch(self, size: int, rng: np.random.Generator) -> tuple[RgbImage, RgbImage, np.float32]:
        original, decoded, c = self.crops[rng.integers(len(self.crops))]
        chosen = int(rng.integers(len(c)))
        top, left = (ALIGNMENT * rng.integers((side - size) // ALIGNMENT + 1) for side in original.shape[:2])
        flip, turns = int(rng.choice((-1, 1))), int(rng.integers(4))
        first, second = (
            np.rot90(picture[top : top + size, left : left + size][:, ::flip], turns)
            for picture in (original, decoded[chosen])
        )
        return first, second, c[chosen]


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
            write_tensors(path, _pairs(recipe, index, photo, codec))
        report(index)


def _photographs(recipe: PairRecipe, photos: PhotoSet) -> Iterator[PhotoSet]:
    """Yields photographs in random order, each once in every round."""
    count = len(photos.groups)
    for index in range(recipe.crops):
        order = generator(purpose="order", seed=recipe.seed, round=index // count).permutation(count)
        yield PhotoSet((photos.groups[order[index % count]],))


def _pairs(recipe: PairRecipe, index: int, photo: PhotoSet, codec: ChainCodec) -> dict[str, Tensor]:
    rng = generator(purpose="pairs", seed=recipe.seed, index=index)
    crop = Pyramid(photo, recipe.size_of(index, photo)).draw(1, rng)[0]
    original: RgbImage = np.ascontiguousarray(crop.transpose(1, 2, 0))
    known = codec.with_parameters(prior=RememberingPrior(codec.denoiser))
    decoded, c = [], []
    for rate in recipe.rates_of(rng):
        coder = known.with_rate(float(rate))
        data = coder.encode(original)
        _, script = codec.open(container.unpack(data))
        if rng.random() < recipe.damaged:
            data = BinarySymmetricChannel(recipe.ber).corrupt(data, rng)
        picture = coder.decode_many([data])[0].picture
        if picture is not None:
            decoded.append(torch.from_numpy(picture))
            c.append(condition(script.steps[-1].level))
    pictures = torch.stack(decoded) if decoded else torch.empty(0, *original.shape, dtype=torch.uint8)
    return {"original": torch.from_numpy(original), "decoded": pictures, "c": torch.tensor(c, dtype=torch.float32)}


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    tensors, _ = read_tensors(path)
    try:
        original, decoded, c = (tensors[name].numpy() for name in ("original", "decoded", "c"))
    except KeyError as error:
        raise WeightsError(f"expected pairs in {path}, got no {error}") from error
    return original, decoded, c


def _pictures(patches: tuple[RgbImage, ...]) -> Tensor:
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).float() / 127.5 - 1
