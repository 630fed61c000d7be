"""The auxiliary encoder of StableCodec: the analysis transform of ELIC (He et al., 2022, CVPR, arXiv 2203.10886)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

__all__ = ["AuxiliaryEncoder"]


def _bottleneck(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels // 2, 1),
        nn.ReLU(),
        nn.Conv2d(channels // 2, channels // 2, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels // 2, channels, 1),
    )


class _ResidualBottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _bottleneck(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.branch(x))


class _ResidualUnit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _bottleneck(channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.conv(x)).relu()


class _Attention(nn.Module):
    """The attention of Cheng et al. (2020, https://arxiv.org/abs/2001.01568): features, gated by features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(_ResidualUnit(channels) for _ in range(3)))
        self.conv_b = nn.Sequential(*(_ResidualUnit(channels) for _ in range(3)), nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv_a(x) * self.conv_b(x).sigmoid())


class AuxiliaryEncoder(nn.Module):
    """Makes features (B, outputs, H / 16, W / 16) of pictures (B, 3, H, W) in [0, 1].

    Arguments:
        hidden: Channels within, 192 in the published weights.
        outputs: Channels of the features, 320 in the published weights.
    """

    def __init__(self, hidden: int = 192, outputs: int = 320) -> None:
        super().__init__()

        def halve(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)

        def three() -> list[nn.Module]:
            return [_ResidualBottleneck(hidden) for _ in range(3)]

        self.analysis_transform = nn.Sequential(
            halve(3, hidden),
            *three(),
            halve(hidden, hidden),
            *three(),
            _Attention(hidden),
            halve(hidden, hidden),
            *three(),
            halve(hidden, outputs),
            _Attention(outputs),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns the features."""
        return cast(Tensor, self.analysis_transform(pictures))
