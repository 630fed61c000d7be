"""Peak memory of encoding and of decoding, each in a fresh process, for square pictures of growing side.

The picture is scikit-image's astronaut enlarged; the codec is tracks at --bpp. Peak memory is the largest resident set
size of the process, interpreter and libraries included; "idle" is a process that only loads the denoiser.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from PIL import Image

from flipproof import registry
from flipproof.image import RgbImage
from flipproof.prior.small import SmallPrior
from flipproof.study.dataset import bundled as photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sides", default="512,1024,2048", help="sides in pixels (512,1024,2048)")
    parser.add_argument("--bpp", type=float, default=0.1, help="rate of the files (0.1)")
    options = parser.parse_args()
    print("| side | encode MiB | decode MiB | idle MiB |\n|---|---|---|---|")
    for side in map(int, options.sides.split(",")):
        data, encode = _apart(_encode, side, options.bpp)
        _, decode = _apart(_decode, data)
        _, idle = _apart(SmallPrior.load)
        print(f"| {side} | {encode} | {decode} | {idle} |", flush=True)


def _apart(call: Callable[..., object], *arguments: object) -> tuple[object, int]:
    """Calls in a process of its own; returns the result, if it is bytes, and the peak memory in MiB."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, call, *arguments).result()


def _measured(call: Callable[..., object], *arguments: object) -> tuple[object, int]:
    result = call(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return (result if isinstance(result, bytes) else None), peak


def _encode(side: int, bpp: float) -> bytes:
    return registry.codec("tracks", bpp=bpp).encode(_picture(side))


def _decode(data: bytes) -> None:
    registry.codec("tracks").decode(data)


def _picture(side: int) -> RgbImage:
    return np.asarray(Image.fromarray(photos.load("astronaut")).resize((side, side), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
