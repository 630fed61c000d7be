r"""The network of the small prior: a residual U-Net conditioned on the noise level.

:math:`F(x, c, u)` maps a scaled picture :math:`x` to a picture-sized output, given the log noise level
:math:`c = \ln \sigma` and a flag :math:`u` that says whether the finest detail of the input was observed
(:math:`u = 0`, plain denoising) or has to be invented (:math:`u = 1`, refinement to twice the resolution).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from textwrap import shorten

from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor, cat, device, linspace, nn
from torch.nn import functional

from flipproof.errors import WeightsError

__all__ = ["ResidualBlock", "UNet"]

MOST_SCALES = 7
"""A picture is padded to multiples of two to this power."""


class ResidualBlock(nn.Module):
    r"""Computes :math:`x + W_2 * \mathrm{relu}((W_1 * x)(1 + a) + b)` with :math:`(a, b)` linear in the embedding.

    Arguments:
        width: Channels of input and output.
        embedding: Length of the noise embedding.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * width)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Maps ``x`` (B, width, H, W) and ``e`` (B, embedding) to (B, width, H, W)."""
        a, b = self.film(e)[:, :, None, None].chunk(2, dim=1)
        out: Tensor = x + self.conv2(functional.relu(self.conv1(x) * (1 + a) + b))
        return out


class UNet(nn.Module):
    """Encoder-decoder over ``len(widths)`` scales with additive skips.

    Arguments:
        widths: Channels per scale, finest first; the finest scale is half the picture's resolution.
        encoder_blocks: Residual blocks per scale on the way down.
        decoder_blocks: Residual blocks per scale on the way up (one scale fewer).
        embedding: Length of the noise embedding.
        frequencies: Sine features of the log noise level.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        encoder_blocks: tuple[int, ...] = (1, 2, 2, 3),
        decoder_blocks: tuple[int, ...] = (1, 2, 2),
        embedding: int = 128,
        frequencies: int = 16,
    ) -> None:
        super().__init__()
        scales = range(len(widths) - 1)
        self.multiple = 2 ** len(widths)
        # on the meta device linspace has PyTorch import SymPy, which takes a quarter of a second
        self.freqs = nn.Buffer(linspace(0.25, 4, frequencies, device="cpu"))
        self.embed = nn.Sequential(
            nn.Linear(2 * frequencies + 2, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.enc = nn.ModuleList(_blocks(w, n, embedding) for w, n in zip(widths, encoder_blocks, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 2, stride=2) for i in scales)
        self.up = nn.ModuleList(nn.Conv2d(widths[i + 1], 4 * widths[i], 1) for i in scales)
        self.dec = nn.ModuleList(_blocks(widths[i], decoder_blocks[i], embedding) for i in scales)
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)

    @classmethod
    def from_bytes(cls, weights: bytes) -> UNet:
        """Returns the network, in float32, that the bytes of a safetensors file are of.

        Raises:
            WeightsError: The bytes are not safetensors, or the tensors are of no such network.
        """
        try:
            return cls.from_state(safetensors.load(weights))
        except (SafetensorError, KeyError, WeightsError) as error:  # KeyError: types that PyTorch has not
            raise WeightsError(f"unreadable weights: {error}") from error

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> UNet:
        """Returns the network, in float32, that a state dictionary is of.

        Arguments:
            state: Tensors by name; scales, blocks and widths follow from them.

        Raises:
            WeightsError: It is no state dictionary of such a network.
        """
        for name, tensor in state.items():
            if not tensor.is_floating_point():
                raise WeightsError(f"expected floating-point numbers in {name}, got {tensor.dtype}")
        scales = 1 + _run_length(state, "down.{}.bias")
        if scales > MOST_SCALES:
            raise WeightsError(f"expected a network of at most {MOST_SCALES} scales, got {scales}")
        widths = [_length(state, "stem.bias"), *(_length(state, f"down.{i}.bias") for i in range(scales - 1))]
        encoder_blocks, decoder_blocks = (
            tuple(_run_length(state, f"{way}.{i}.{{}}.film.bias") for i in range(number))
            for way, number in (("enc", scales), ("dec", scales - 1))
        )
        with device("meta"):  # tensors without memory: what a file claims costs nothing until it is there
            net = cls(
                tuple(widths), encoder_blocks, decoder_blocks, _length(state, "embed.0.bias"), _length(state, "freqs")
            )
        try:
            net.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
        except RuntimeError as error:
            raise WeightsError(shorten(str(error), 200)) from error
        return net

    def forward(self, x: Tensor, c: Tensor, u: Tensor) -> Tensor:
        """Maps ``x`` (B, 3, H, W), ``c`` (B,) and ``u`` (B,) to (B, 3, H, W); sides are multiples of ``multiple``."""
        e = self.embedding(c, u)
        return self.traverse(x, lambda block, h: block(h, e), self._climb)

    def embedding(self, c: Tensor, u: Tensor) -> Tensor:
        """Returns the noise embedding (B, embedding) of ``c`` (B,) and ``u`` (B,)."""
        angles = c[:, None] * self.freqs
        e: Tensor = self.embed(cat([c[:, None], angles.sin(), angles.cos(), u[:, None]], dim=1))
        return e

    def traverse(
        self,
        x: Tensor,
        apply: Callable[[ResidualBlock, Tensor], Tensor],
        climb: Callable[[int, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Maps ``x`` (B, 3, H, W) to (B, 3, H, W).

        Arguments:
            x: Scaled pictures.
            apply: What a residual block makes of its input.
            climb: What a scale makes of the coarser one and of what it was itself on the way down.
        """
        h, skips = self.stem(functional.pixel_unshuffle(x, 2).to(self.stem.weight.dtype)), []
        for scale, blocks in enumerate(self.enc):
            if scale:
                skips.append(h)
                h = self.down[scale - 1](h)
            h = _run(blocks, h, apply)
        for scale in reversed(range(len(self.dec))):
            h = _run(self.dec[scale], climb(scale, h, skips.pop()), apply)
        return functional.pixel_shuffle(self.head(h), 2)

    def _climb(self, scale: int, coarse: Tensor, skip: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.up[scale](coarse), 2) + skip


def _blocks(width: int, count: int, embedding: int) -> nn.ModuleList:
    return nn.ModuleList(ResidualBlock(width, embedding) for _ in range(count))


def _run(blocks: nn.Module, h: Tensor, apply: Callable[[ResidualBlock, Tensor], Tensor]) -> Tensor:
    for block in blocks.children():
        h = apply(block, h)  # type: ignore[arg-type]
    return h


def _run_length(state: Mapping[str, Tensor], pattern: str) -> int:
    """Returns how many names there are with the numbers from 0 without a gap."""
    return next(number for number in count() if pattern.format(number) not in state)


def _length(state: Mapping[str, Tensor], name: str) -> int:
    if name not in state or state[name].ndim != 1 or not len(state[name]):
        got = tuple(state[name].shape) if name in state else "none"
        raise WeightsError(f"expected a vector {name}, got {got}")
    return len(state[name])
