r"""The network of the small prior: a residual U-Net conditioned on the noise level.

:math:`F(x, c, u)` maps a scaled picture :math:`x` to a picture-sized output, given the log noise level
:math:`c = \ln \sigma` and a flag :math:`u` that says whether the finest detail of the input was observed
(:math:`u = 0`, plain denoising) or has to be invented (:math:`u = 1`, refinement to twice the resolution).
About 62 thousand multiply-adds per pixel.
"""

from __future__ import annotations

from torch import Tensor, cat, linspace, nn
from torch.nn import functional

__all__ = ["ResidualBlock", "UNet"]


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
        self.freqs = nn.Buffer(linspace(0.25, 4, frequencies))
        self.embed = nn.Sequential(
            nn.Linear(2 * frequencies + 2, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.enc = nn.ModuleList(_blocks(w, n, embedding) for w, n in zip(widths, encoder_blocks, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 2, stride=2) for i in scales)
        self.up = nn.ModuleList(nn.Conv2d(widths[i + 1], 4 * widths[i], 1) for i in scales)
        self.dec = nn.ModuleList(_blocks(widths[i], decoder_blocks[i], embedding) for i in scales)
        self.head = nn.Conv2d(widths[0], 12, 3, padding=1)

    def forward(self, x: Tensor, c: Tensor, u: Tensor) -> Tensor:
        """Maps ``x`` (B, 3, H, W), ``c`` (B,) and ``u`` (B,) to (B, 3, H, W); sides are multiples of ``multiple``."""
        angles = c[:, None] * self.freqs
        e = self.embed(cat([c[:, None], angles.sin(), angles.cos(), u[:, None]], dim=1))
        h, skips = self.stem(functional.pixel_unshuffle(x, 2)), []
        for scale, blocks in enumerate(self.enc):
            if scale:
                skips.append(h)
                h = self.down[scale - 1](h)
            h = _run(blocks, h, e)
        for scale in reversed(range(len(self.dec))):
            h = functional.pixel_shuffle(self.up[scale](h), 2) + skips[scale]
            h = _run(self.dec[scale], h, e)
        return functional.pixel_shuffle(self.head(h), 2)


def _blocks(width: int, count: int, embedding: int) -> nn.ModuleList:
    return nn.ModuleList(ResidualBlock(width, embedding) for _ in range(count))


def _run(blocks: nn.Module, h: Tensor, e: Tensor) -> Tensor:
    for block in blocks.children():
        h = block(h, e)
    return h
