"""What the published robustness study calls a JPEG that no longer decodes.

Its files are JPEG of about 1 bit per pixel with the standard's Huffman tables, flipped anywhere and read by Pillow. How
many of them "decode" hangs on a flag that Pillow has for the whole process, `ImageFile.LOAD_TRUNCATED_IMAGES`, which
some libraries set when they are imported: then a file whose tables are broken is a black picture and no error. This
reads the same damaged files both ways, in a child process each.
"""

from __future__ import annotations

import argparse
import io
import statistics
import warnings
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.jpeg import JpegCodec
from flipproof.image import RgbImage
from flipproof.metric.psnr import psnr
from flipproof.seeds import generator
from flipproof.study.dataset import bundled as photos

RATES, TRIALS, SIDE = (1e-4, 1e-3), 10, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with Kodak's 24 photographs")
    options = parser.parse_args()
    print("| LOAD_TRUNCATED_IMAGES | BER | lost | PSNR of the rest | black |\n|---|---|---|---|---|")
    for lenient in (False, True):
        with get_context("spawn").Pool(1) as pool:
            print("\n".join(pool.apply(rows, (options.data, lenient))), flush=True)


def rows(data: Path, lenient: bool) -> list[str]:
    """Returns a row per bit error rate; changes Pillow's flag, so it wants a process of its own."""
    ImageFile.LOAD_TRUNCATED_IMAGES = lenient
    crops = [photos.centre_crop(image, SIDE) for image in photos.load_folder(data).values()]
    codec = JpegCodec(bpp=1.0, optimize=False)
    files = [(codec.encode(crop), crop) for crop in crops]
    return [row(files, rate, lenient) for rate in RATES]


def row(files: list[tuple[bytes, RgbImage]], rate: float, lenient: bool) -> str:
    channel, pictures = BinarySymmetricChannel(rate), []
    for index, (data, crop) in enumerate(files):
        for trial in range(TRIALS):
            received = channel.corrupt(data, generator(purpose="published jpeg", picture=index, rate=rate, trial=trial))
            pictures.append((read(received), crop))
    shown = [(picture, crop) for picture, crop in pictures if picture is not None and picture.shape == crop.shape]
    quality = statistics.fmean(psnr(picture, crop) for picture, crop in shown)
    black = sum(not picture.any() for picture, _ in shown)
    return f"| {lenient} | {rate:g} | {100 - 100 * len(shown) / len(pictures):.1f} % | {quality:.2f} dB | {black} |"


def read(data: bytes) -> RgbImage | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except Exception:  # as the study has it
        return None


if __name__ == "__main__":
    main()
