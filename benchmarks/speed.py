"""How long the codecs take, in wall seconds of this process and in units that carry over to other machines.

Each picture is cropped to its centre (enlarged first if it is smaller) and encoded and decoded once to warm up, then
five times; the median counts, averaged over the pictures. Beside the seconds stand their ratios to JPEG at quality 75
and to one evaluation of the shipped denoiser at full resolution, both measured in the same run on the same crop. "8
copies" decodes eight copies with a bit error rate of 1e-3 in one call, against eight calls, once
each. Threads are PyTorch's; set OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from flipproof import registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.base import Codec
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.target import to_tensor
from flipproof.errors import RateError
from flipproof.image import RgbImage
from flipproof.prior.small import SmallPrior
from flipproof.seeds import generator
from flipproof.study.dataset import bundled as photos

SIZES = ((512, 512), (768, 512))
RATES = (0.1, 0.25)
FREE = [name for name in registry.names("codecs") if name not in ("ms-illm", "stablecodec")]
CHAINS = [name for name in FREE if isinstance(registry.codec(name), ChainCodec)]
DEFAULT_SPECS = (
    "jpeg",
    *(f"{name}[bpp=0.5]" for name in FREE if name not in CHAINS),
    *(f"{name}[bpp={rate:g}]" for name in CHAINS if name != "ddcm" for rate in RATES),
    *(f"tracks[bpp=0.1,precision={precision}]" for precision in ("float32", "bfloat16")),
    "ddcm[bpp=0.1,steps=100]",
)
"""Codecs whose weights are not in the package are left out."""

COPIES, FLIPS = 8, 1e-3


@dataclass(frozen=True)
class Times:
    """Seconds for one picture; of the last two, ``batched`` decodes 8 copies in one call and ``single`` in eight."""

    encode: float
    decode: float
    batched: float
    single: float


def main() -> None:
    options = _options()
    folder = photos.load_folder(options.data) if options.data else {name: photos.load(name) for name in photos.names()}
    pictures = list(folder.values())[: options.pictures]
    print(f"{len(pictures)} pictures, median of {options.repeats}, {torch.get_num_threads()} threads.\n")
    print("| size | codec | encode s | decode s | over JPEG | in denoiser calls | 8 copies s | 8 calls s |")
    print("|---|---|---|---|---|---|---|---|")
    for width, height in SIZES:
        crops = [_crop(picture, width, height) for picture in pictures]
        _print_size(f"{width}x{height}", crops, options)


def _print_size(size: str, crops: list[RgbImage], options: argparse.Namespace) -> None:
    """Prints the rows of one size, those of the yardsticks first."""
    repeats = options.repeats
    unit = statistics.fmean(_denoise_seconds(crop, repeats) for crop in crops)
    print(f"| {size} | one denoiser call | – | {unit:.4f} | – | 1 | – | – |")  # noqa: RUF001 (dashes)
    jpeg = _mean([_times(registry.codec("jpeg"), crop, repeats) for crop in crops])
    for spec in options.codec or DEFAULT_SPECS:
        try:
            times = _mean([_times(registry.codec(spec), crop, repeats) for crop in crops])
        except RateError:
            print(f"| {size} | `{spec}` | rate too low here | | | | | |", flush=True)
        else:
            print(_line(f"| {size} | `{spec}`", times, jpeg, unit), flush=True)


def _line(start: str, times: Times, jpeg: Times, unit: float) -> str:
    over = f"{times.encode / jpeg.encode:.0f} / {times.decode / jpeg.decode:.0f}"
    calls = f"{times.encode / unit:.2f} / {times.decode / unit:.2f}"
    seconds = [f"{value:.4f}" for value in (times.encode, times.decode)]
    return " | ".join([start, *seconds, over, calls, f"{times.batched:.4f}", f"{times.single:.4f}"]) + " |"


def _times(codec: Codec, crop: RgbImage, repeats: int) -> Times:
    data = codec.encode(crop)
    rng = generator(purpose="speed", codec=str(codec))
    copies = [BinarySymmetricChannel(FLIPS).corrupt(data, rng) for _ in range(COPIES)]
    return Times(
        encode=_median(lambda: codec.encode(crop), repeats),
        decode=_median(lambda: codec.decode_many([data]), repeats),
        batched=_seconds(lambda: codec.decode_many(copies)),
        single=_seconds(lambda: [codec.decode_many([copy]) for copy in copies]),
    )


def _denoise_seconds(crop: RgbImage, repeats: int) -> float:
    prior, y = SmallPrior.load(), to_tensor(crop)
    return _median(lambda: prior.denoise(y, 0.5), repeats)


def _median(call: Callable[[], object], repeats: int) -> float:
    """Returns the median seconds of a call that was made once before."""
    call()
    return statistics.median(_seconds(call) for _ in range(repeats))


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _mean(times: list[Times]) -> Times:
    return Times(*(statistics.fmean(getattr(t, name) for t in times) for name in Times.__dataclass_fields__))


def _crop(picture: RgbImage, width: int, height: int) -> RgbImage:
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    if top < 0 or left < 0:
        return np.asarray(ImageOps.fit(Image.fromarray(picture), (width, height), Image.Resampling.LANCZOS))
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of pictures (the photographs that come with scikit-image)")
    parser.add_argument("--pictures", type=int, default=1, help="how many of them (1)")
    parser.add_argument("--codec", action="append", help="codec instead of the default ones; repeat it")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each kind (5)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
