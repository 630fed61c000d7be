"""The same file on other processors, in other precisions: nearly the same picture."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import photograph
from family import KINDS
from flipproof.metric.psnr import psnr

GOLDEN = Path(__file__).parent / "golden"
CAPABILITIES = ("default", "avx2", "avx512")
"""Instructions that PyTorch can be held to; more than a processor has make it stop with a signal."""
DECODE = """
import sys
from pathlib import Path
import numpy as np, torch
import flipproof
files = sorted(Path(sys.argv[1]).glob("v*/*/*.flip"))
names = ["-".join(file.with_suffix("").parts[-3:]) for file in files]
pictures = {name: flipproof.decode(file, precision="float32").picture for name, file in zip(names, files, strict=True)}
np.savez(sys.argv[2], capability=torch.backends.cpu.get_cpu_capability(), **pictures)
"""


@pytest.mark.parametrize("codec", KINDS, ids=lambda codec: codec.name)
@pytest.mark.parametrize(("here", "there"), [("float32", ("bfloat16", "float16")), ("bfloat16", ("float32",))])
def test_files_cross_precisions(codec, here, there):
    """What one precision wrote others decode to a picture of the same quality, to a fifth of a decibel."""
    picture = photograph(48, 64)
    data = replace(codec, precision=here).encode(picture)
    quality = [psnr(replace(codec, precision=kind).decode(data).picture, picture) for kind in (here, *there)]
    assert quality[1:] == pytest.approx(quality[:1] * len(there), abs=0.2)


@pytest.mark.slow
def test_the_number_of_threads_is_of_no_importance():
    codec, pictures = KINDS[0], []
    data = codec.encode(photograph(48, 64))
    for count in (1, 2):
        torch.set_num_threads(count)
        pictures.append(codec.decode(data).picture)
    assert psnr(*pictures) > 50


@pytest.mark.slow
def test_golden_files_decode_alike_whatever_the_processor_can(tmp_path):
    seen, here = set(), torch.backends.cpu.get_cpu_capability().lower()
    for capability in CAPABILITIES[: CAPABILITIES.index(here) + 1] if here in CAPABILITIES else ("default",):
        out = tmp_path / f"{capability}.npz"
        subprocess.run(
            [sys.executable, "-c", DECODE, str(GOLDEN), str(out)],
            env=os.environ | {"ATEN_CPU_CAPABILITY": capability},
            check=True,
        )
        with np.load(out) as pictures:
            seen.add(str(pictures["capability"]))
            for file in sorted(GOLDEN.glob("v*/*/*.png")):
                stored = np.asarray(Image.open(file))
                assert psnr(pictures["-".join(file.with_suffix("").parts[-3:])], stored) > 45
    assert "DEFAULT" in seen
