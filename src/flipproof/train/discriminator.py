r"""The discriminator that teaches the refiner what photographs look like close up.

A small convolutional network with spectral normalisation (Miyato et al., 2018, https://arxiv.org/abs/1802.05957) sees a
picture beside the decoded one it was made of, and scores overlapping patches of about 40 pixels
(Isola et al., 2017, https://arxiv.org/abs/1611.07004). With the hinge losses

.. math:: L_D = \mathbb{E} \max(0, 1 - d(x)) + \mathbb{E} \max(0, 1 + d(g)), \quad L_G = -\mathbb{E} d(g).
"""

from __future__ import annotations

from torch import Tensor, cat, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["Discriminator", "hinge"]


class Discriminator(nn.Module):
    """Scores patches of a picture, given what it was decoded to before refinement.

    Arguments:
        width: Channels of the first layer, at half the picture's resolution.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        shapes = [
            (24, width, 3, 1),
            (width, 2 * width, 4, 2),
            (2 * width, 4 * width, 4, 2),
            (4 * width, 4 * width, 3, 1),
        ]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, size, stride, padding=1))
            for inputs, outputs, size, stride in shapes
        )
        self.head = spectral_norm(nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, picture: Tensor, decoded: Tensor) -> Tensor:
        """Maps pictures (B, 3, H, W) and as many decoded ones to scores (B, 1, H / 8, W / 8); sides multiples of 8."""
        h = functional.pixel_unshuffle(cat([picture, decoded], dim=1), 2)
        for layer in self.layers:
            h = functional.leaky_relu(layer(h), 0.2)
        scores: Tensor = self.head(h)
        return scores


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """Returns the discriminator's loss for scores of photographs and of made pictures."""
    return functional.relu(1 - real).mean() + functional.relu(1 + made).mean()
