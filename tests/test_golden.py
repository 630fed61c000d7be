"""Files written by earlier builds must decode to the same pictures, for as long as their format version is supported.

To write files again, after what they look like was changed on purpose: python tests/test_golden.py trellis tracks
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import flipproof
from conftest import photograph
from flipproof import registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.container import unpack
from flipproof.metric.psnr import psnr

GOLDEN = Path(__file__).parent / "golden"
TURBO = "count=12,atoms=512,steps=12,grid=2,free_steps=2"
SPECS = {
    "trellis": "trellis[bpp=0.8]",
    "trellis-bare": "trellis[bpp=0.8,window=6,protect=none]",
    "trellis-small-4": "trellis[bpp=0.8,prior=small-4]",
    "tracks": "tracks[bpp=0.8]",
    "tracks-bare": "tracks[bpp=0.8,protect=none]",
    "turbo-ddcm": f"turbo-ddcm[{TURBO}]",
    "turbo-ddcm-small-4": f"turbo-ddcm[{TURBO},prior=small-4]",
    "hybrid-turbo-ddcm": f"hybrid-turbo-ddcm[{TURBO},alone=4]",
    "robust-turbo-ddcm": f"robust-turbo-ddcm[{TURBO}]",
    "robust-turbo-ddcm-uniform": f"robust-turbo-ddcm[{TURBO},protect=uniform[t=20]]",
    "robust-turbo-ddcm-gaussian": f"robust-turbo-ddcm[{TURBO},codebook=gaussian]",
    "ddcm": "ddcm[count=3,atoms=256,steps=16,grid=2]",
    "diffc": "diffc[bpp=0.6,steps=12,grid=2]",
    "robust-diffc": "robust-diffc[bpp=0.6,steps=12,grid=2]",
    "robust-diffc-unequal": "robust-diffc[bpp=0.6,steps=12,grid=2,protect=uep[ber=0.003]]",
}
RATES = {
    "trellis": 2e-2,
    "trellis-small-4": 2e-2,
    "tracks": 2e-2,
    "robust-turbo-ddcm-uniform": 5e-2,
    "robust-diffc-unequal": 1e-2,
}
"""Bit error rates that take some blocks of protected files beyond repair; 3e-3 for all others."""
PLAIN = {"precision": "float32", "views": 1}
"""How decoders are to compute, which files do not say."""


FOLDERS = sorted(folder for folder in GOLDEN.glob("v*/*") if folder.is_dir())
"""Those of version 3 whose codecs protect their payload unequally are of builds that did so with its codes."""


def write(name: str) -> None:
    data = registry.codec(SPECS[name], precision="float32").encode(photograph(70, 100))
    damaged = BinarySymmetricChannel(RATES.get(name, 3e-3)).corrupt(data, np.random.default_rng(0))
    folder = GOLDEN / f"v{unpack(data).plan.ladder.version}" / name
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in (("clean", data), ("damaged", damaged)):
        (folder / f"{kind}.flip").write_bytes(content)
        Image.fromarray(flipproof.decode(content, **PLAIN).picture).save(folder / f"{kind}.png")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_golden_files_decode_to_their_pictures(folder):
    assert folder.name in SPECS
    for kind in ("clean", "damaged"):
        result = flipproof.decode(folder / f"{kind}.flip", **PLAIN)
        stored = np.asarray(Image.open(folder / f"{kind}.png"))
        assert psnr(result.picture, stored) > 50
        assert (result.status is flipproof.Status.OK) == (kind == "clean")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(name)
