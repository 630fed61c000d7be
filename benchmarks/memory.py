"""Peak memory and time of encoding and of decoding, each in a fresh process, for pictures of growing size.

The picture is scikit-image's astronaut enlarged. Peak memory is the largest resident set size of the process,
interpreter and libraries included; "idle" is a process that only loads the denoiser.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from flipproof import registry
from flipproof.image import RgbImage
from flipproof.prior.small import SmallPrior
from flipproof.study.dataset import bundled as photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="512x512,1024x1024,2048x2048", help="widths and heights in pixels")
    parser.add_argument("--codec", default="trellis", help="codec with a parameter bpp (trellis)")
    parser.add_argument("--bpp", default="0.1", help="rates of the files (0.1)")
    options = parser.parse_args()
    print("| size | bpp | encode MiB | s | decode MiB | s | idle MiB |\n|---|---|---|---|---|---|---|")
    for size in options.sizes.split(","):
        width, height = map(int, size.split("x"))
        for bpp in map(float, options.bpp.split(",")):
            encoded = _apart(_encode, options.codec, width, height, bpp)
            decoded, idle = _apart(_decode, options.codec, encoded.data), _apart(SmallPrior.load)
            figures = [encoded.mebibytes, encoded.seconds, decoded.mebibytes, decoded.seconds, idle.mebibytes]
            print(f"| {size} | {bpp:g} | {' | '.join(f'{figure:.0f}' for figure in figures)} |", flush=True)


@dataclass(frozen=True)
class Measured:
    """What a call in a process of its own took, and its result, if that is bytes."""

    mebibytes: float
    seconds: float
    data: bytes


def _apart(call: Callable[..., object], *arguments: object) -> Measured:
    """Calls in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, call, *arguments).result()


def _measured(call: Callable[..., object], *arguments: object) -> Measured:
    start = time.perf_counter()
    result = call(*arguments)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(peak, seconds, result if isinstance(result, bytes) else b"")


def _encode(codec: str, width: int, height: int, bpp: float) -> bytes:
    return registry.codec(codec, bpp=bpp).encode(_picture(width, height))


def _decode(codec: str, data: bytes) -> None:
    registry.codec(codec).decode(data)


def _picture(width: int, height: int) -> RgbImage:
    return np.asarray(Image.fromarray(photos.load("astronaut")).resize((width, height), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
