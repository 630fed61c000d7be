r"""The autoencoder of Stable Diffusion in tiles that share the statistics of their normalisations.

StableCodec runs large pictures through the autoencoder in tiles with a margin, all tiles one layer at a time. Local
layers see the margin. A group normalisation takes the average of the tiles' own means and variances, weighted by their
numbers of pixels, margins included,

.. math:: \mu = \sum_i w_i \mu_i, \quad \sigma^2 = \sum_i w_i \sigma_i^2,

and attention stays within a tile. So the tiles fit together without blending, and colours do not drift. (Tiled VAE of
Li Yi, 2023, as the authors use it.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["DECODER_TILE", "ENCODER_TILE", "Tiling", "decode", "encode"]

FACTOR = 8  # of the sides of pictures to those of latents
Box: TypeAlias = tuple[slice, slice]


@dataclass(frozen=True)
class Tiling:
    """How to cut.

    Attributes:
        size: Side of a tile without margins.
        margin: What a tile sees beyond; larger sides than a tile with two margins are cut.
    """

    size: int
    margin: int

    def fits(self, height: int, width: int) -> bool:
        """Whether one tile is enough."""
        return max(height, width) <= self.size + 2 * self.margin

    def cuts(self, length: int) -> list[tuple[slice, slice]]:
        """Returns, along one side, what each tile sees and which part of it is its own.

        Example:
            >>> Tiling(8, 2).cuts(20)
            [(slice(0, 12, None), slice(0, 10, None)), (slice(8, 20, None), slice(10, 20, None))]
        """
        count = max(1, math.ceil((length - 2 * self.margin) / self.size))
        size = _even(math.ceil((length - 2 * self.margin) / count), self.size)
        found = []
        for place in range(count):
            start, end = (min(self.margin + step * size, length) for step in (place, place + 1))
            own = slice(start if start > self.margin else 0, end if end < length - self.margin else length)
            found.append((slice(max(0, start - self.margin), min(length, end + self.margin)), own))
        return found


def _even(size: int, most: int) -> int:
    """Rounds up to a multiple of 32, or else of the largest lesser power of two, that is within the limit."""
    for divisor in (32, 16, 8, 4, 2):
        rounded = -(-size // divisor) * divisor
        if rounded <= max(size, most):
            return rounded
    return size


ENCODER_TILE = Tiling(1024, 32)
"""In pixels; the authors' choice."""
DECODER_TILE = Tiling(160, 11)
"""In latents; the authors' choice."""


def encode(vae: Any, pictures: Tensor, tiling: Tiling) -> Tensor:  # noqa: ANN401
    """Returns the modes of the latents (1, C, H / 8, W / 8), not scaled, of a picture (1, 3, H, W) in [-1, 1]."""
    encoder = vae.encoder
    if tiling.fits(*pictures.shape[2:]):
        moments = encoder(pictures)
    else:
        moments = _tiled(pictures, tiling, lambda tiles: _encode(encoder, tiles), lambda i: i // FACTOR)
    return _through(vae.quant_conv, moments).chunk(2, dim=1)[0]


def decode(vae: Any, latents: Tensor, tiling: Tiling) -> Tensor:  # noqa: ANN401
    """Returns the picture (1, 3, 8 h, 8 w) of latents (1, C, h, w) that are not scaled."""
    decoder, latents = vae.decoder, _through(vae.post_quant_conv, latents)
    if tiling.fits(*latents.shape[2:]):
        whole: Tensor = decoder(latents)
        return whole
    return _tiled(latents, tiling, lambda tiles: _decode(decoder, tiles), lambda i: i * FACTOR)


def _through(layer: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    """Applies a layer that some autoencoders lack."""
    return x if layer is None else layer(x)


def _tiled(
    x: Tensor, tiling: Tiling, run: Callable[[list[Tensor]], list[Tensor]], scaled: Callable[[int], int]
) -> Tensor:
    """Cuts, runs all tiles, and puts together what is each one's own."""
    rows, columns = (tiling.cuts(length) for length in x.shape[2:])
    outputs = iter(run([x[:, :, seen_y, seen_x] for seen_y, _ in rows for seen_x, _ in columns]))
    return torch.cat([torch.cat(list(_own(outputs, row, columns, scaled)), dim=3) for row in rows], dim=2)


def _own(outputs: Iterator[Tensor], row: Box, columns: list[Box], scaled: Callable[[int], int]) -> Iterator[Tensor]:
    for column in columns:
        (top, bottom), (left, right) = (_within(seen, own, scaled) for seen, own in (row, column))
        yield next(outputs)[:, :, top:bottom, left:right]


def _within(seen: slice, own: slice, scaled: Callable[[int], int]) -> tuple[int, int]:
    start = scaled(own.start) - scaled(seen.start)
    return start, start + scaled(own.stop) - scaled(own.start)


def _encode(encoder: Any, tiles: list[Tensor]) -> list[Tensor]:  # noqa: ANN401
    tiles = [encoder.conv_in(tile) for tile in tiles]
    for block in encoder.down_blocks:
        tiles = _block(block.resnets, block.downsamplers, tiles)
    return _end(encoder, _middle(encoder.mid_block, tiles))


def _decode(decoder: Any, tiles: list[Tensor]) -> list[Tensor]:  # noqa: ANN401
    tiles = _middle(decoder.mid_block, [decoder.conv_in(tile) for tile in tiles])
    for block in decoder.up_blocks:
        tiles = _block(block.resnets, block.upsamplers, tiles)
    return _end(decoder, tiles)


def _block(resnets: Any, samplers: Any, tiles: list[Tensor]) -> list[Tensor]:  # noqa: ANN401
    for resnet in resnets:
        tiles = _resnet(resnet, tiles)
    for sampler in samplers or ():
        tiles = [sampler(tile) for tile in tiles]
    return tiles


def _middle(block: Any, tiles: list[Tensor]) -> list[Tensor]:  # noqa: ANN401
    tiles = _resnet(block.resnets[0], tiles)
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        tiles = _resnet(resnet, tiles if attention is None else _attend(attention, tiles))
    return tiles


def _end(module: Any, tiles: list[Tensor]) -> list[Tensor]:  # noqa: ANN401
    return [module.conv_out(functional.silu(tile)) for tile in _normalise(module.conv_norm_out, tiles)]


def _resnet(block: Any, tiles: list[Tensor]) -> list[Tensor]:  # noqa: ANN401
    inner = [block.conv1(functional.silu(tile)) for tile in _normalise(block.norm1, tiles)]
    inner = [block.conv2(functional.silu(tile)) for tile in _normalise(block.norm2, inner)]
    return [_through(block.conv_shortcut, tile) + added for tile, added in zip(tiles, inner, strict=True)]


def _attend(layer: Any, tiles: list[Tensor]) -> list[Tensor]:  # noqa: ANN401
    inner = _normalise(layer.group_norm, tiles)
    return [tile + _attention(layer, normal) for tile, normal in zip(tiles, inner, strict=True)]


def _attention(layer: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    flat = x.flatten(2).transpose(1, 2)
    parts = (
        part(flat).unflatten(2, (layer.heads, -1)).transpose(1, 2) for part in (layer.to_q, layer.to_k, layer.to_v)
    )
    output: Tensor = layer.to_out[0](functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
    return output.transpose(1, 2).reshape(x.shape)


def _normalise(layer: Any, tiles: list[Tensor]) -> list[Tensor]:  # noqa: ANN401
    """Normalises groups of channels by the shared statistics."""
    groups = [tile.float().reshape(tile.shape[0], layer.num_groups, -1) for tile in tiles]
    pixels = torch.tensor([tile.shape[2] * tile.shape[3] for tile in tiles], dtype=torch.float64)
    weights = (pixels / pixels.sum()).to(groups[0])[:, None, None]
    mean = (torch.stack([group.mean(2) for group in groups]) * weights).sum(0)
    variance = (torch.stack([group.var(2, correction=0) for group in groups]) * weights).sum(0)
    scale = (variance + layer.eps).rsqrt().repeat_interleave(tiles[0].shape[1] // layer.num_groups, 1)
    shift = mean.repeat_interleave(tiles[0].shape[1] // layer.num_groups, 1)
    gain, bias = layer.weight.float() * scale, layer.bias.float()
    return [
        (((tile.float() - shift[..., None, None]) * gain[..., None, None]) + bias[:, None, None]).to(tile)
        for tile in tiles
    ]
