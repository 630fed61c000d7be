from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from family import CHEAP, OTHERS
from flipproof import container, registry
from flipproof.codec.script import COMMON_BITS, write_common
from flipproof.image import MAX_PIXELS
from flipproof.received import Received
from flipproof.result import Status
from fuzz import run
from fuzz.bounds import bounded, peak
from fuzz.source import Source, mutated
from fuzz.targets import TARGETS, check, coded, header_file, wrapped

EXAMPLES = {"sealed": 10, "files": 20, "received": 10, "codes": 10, "container": 30, "wrapped": 20}
SECONDS, MEBIBYTES = 60, 1024
LARGEST_MEBIBYTES = 12 * 4 * 3 * MAX_PIXELS / 2**20
"""Twelve arrays of float32 with all samples of the largest picture: what an honest one takes too."""


def inputs(seeds):
    """Bytes of no meaning, and seeds with a few changes."""
    changed = st.builds(
        lambda seed, choices: mutated(Source(choices), seed), st.sampled_from(seeds), st.binary(max_size=80)
    )
    return st.one_of(st.binary(max_size=300), changed)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_give_a_result_or_a_typed_error_within_bounds(name):
    target = TARGETS[name]
    seeds = target.seeds()

    @settings(max_examples=EXAMPLES.get(name, 100))
    @given(inputs(seeds))
    def total(data):
        with bounded(SECONDS, MEBIBYTES):
            target.run(data)

    for seed in seeds:
        target.run(seed)
    total()


def test_the_fuzzer_knows_every_target():
    assert tuple(TARGETS) == run.NAMES


def test_the_headers_to_start_from_are_those_of_encoders():
    for seed, codec in zip(TARGETS["header"].seeds(), CHEAP, strict=True):
        maker, file = header_file(seed)
        assert maker == codec
        _, script = type(codec).open(container.unpack(file))
        _, encoded = type(codec).open(container.unpack(coded()[codec.name]))
        assert script.steps == encoded.steps


def test_the_bounds_are_measured():
    if not peak():
        pytest.skip("this system does not tell how much memory a process took")
    program = "import numpy\nfrom fuzz.bounds import bounded\nwith bounded(60, 64): numpy.ones(2**25)"
    done = subprocess.run(  # in a process of its own, where nothing else frees memory meanwhile
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert "AssertionError: 256 MiB" in done.stderr
    with pytest.raises(AssertionError, match=r" s$"), bounded(0, 64):
        sum(range(10**6))


KIN = {"jpeg2000": "htj2k", "htj2k": "jpeg2000"}
"""High-throughput JPEG 2000 is a part of the standard that decoders of JPEG 2000 may know."""


@pytest.mark.parametrize("codec", [*CHEAP, *OTHERS], ids=str)
def test_files_of_others_are_refused(codec):
    decoder = registry.codec(codec) if isinstance(codec, str) else codec
    files = coded() | {name: data for name, (_, data) in wrapped().items()}
    others = {name: data for name, data in files.items() if name not in (decoder.name, KIN.get(decoder.name))}
    results = decoder.decode_many(list(others.values()))
    check(results, len(others))
    assert {result.status for result in results} == {Status.FAILED}


def claim(codec, height, width):
    """A file of a small picture, complete and sealed, but for a header that claims another size."""
    file = container.unpack(coded()[codec.name])
    _, script = type(codec).open(file)
    own = 8 * len(file.fields) - COMMON_BITS
    writer = write_common(codec.name, replace(script.common, height=height, width=width))
    writer.write("own", int.from_bytes(file.fields, "big") & (1 << own) - 1, own)
    payload = np.packbits(file.payload(script.payload_size).bits).tobytes()
    return container.pack(writer.getvalue(), payload, file.plan)


@pytest.mark.parametrize("size", [(1, 16383), (512, 512)], ids=str)
@pytest.mark.parametrize("codec", CHEAP, ids=lambda codec: codec.name)
def test_small_files_that_claim_pictures_take_bounded_time_and_memory(codec, size):
    with bounded(SECONDS, MEBIBYTES):
        check(codec.decode_many([claim(codec, *size)]), 1)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(4096, 4096)], ids=str)
@pytest.mark.parametrize("codec", CHEAP, ids=lambda codec: codec.name)
def test_small_files_that_claim_the_largest_pictures_take_bounded_time_and_memory(codec, size):
    with bounded(240, LARGEST_MEBIBYTES):
        check(codec.decode_many([claim(codec, *size)]), 1)


@pytest.mark.parametrize("ratio", [0.0, -0.0, np.inf, -np.inf, 1e-45, 3e38])
def test_ratios_of_one_value_say_nothing_that_upsets_a_decoder(ratio):
    codec = CHEAP[0]
    data = coded()[codec.name]
    files = [Received(part, np.full(8 * len(part), ratio, np.float32)) for part in (data, data[:-7], data[:20], b"")]
    check(codec.decode_many(files), len(files))
