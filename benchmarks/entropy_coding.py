"""How much robustness is in the representation, and how much in the absence of entropy coding.

The same selections are written in two ways, fixed length and entropy-coded, and meet the same channel:

- DiffC's chunk seeds behind one range coder under Zipf's law, as published, and each on its own bits;
- tracks behind one range coder with uniform models, and plain; both without protection beyond the header;
- Turbo-DDCM's atoms as one rank a step, which is an enumerative code of the set, and each index on its own.

Clean pictures of a pair are the same; rates differ where the entropy coder saves something.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import constriction
import numpy as np
from numpy.typing import NDArray

from flipproof.bits import BitArray, pack_numbers, unpack_numbers
from flipproof.codec.diffc import DiffC
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.script import Script
from flipproof.codec.tracks import TracksCodec
from flipproof.codec.turbo import RobustTurboDDCM, TurboDDCM
from tables import add_options, measure, show


@dataclass(frozen=True)
class PlainDiffC(DiffC):
    """DiffC's own seeds at fixed length; its files are read by this class only."""

    store = ChainCodec.store
    retrieve = ChainCodec.retrieve


@dataclass(frozen=True)
class RangeCodedTracks(TracksCodec):
    """Tracks whose words pass a range coder with uniform models; its files are read by this class only."""

    def store(self, script: Script, bits: Sequence[BitArray]) -> bytes:
        """Returns the payload, cut to the length that the script says."""
        coder = constriction.stream.queue.RangeEncoder()
        for step, part in zip(script.steps, bits, strict=True):
            words = unpack_numbers(part.reshape(step.protocol.tracks, -1))
            coder.encode(words.astype(np.int32), _uniform(step.protocol.index_bits))
        payload = coder.get_compressed().astype(">u4").tobytes()
        return payload[: script.payload_size].ljust(script.payload_size, b"\0")

    def retrieve(self, script: Script, payload: bytes, known: NDArray[np.bool_]) -> tuple[BitArray, NDArray[np.bool_]]:
        """Returns the bits of all steps; words that the coder cannot make out are zero."""
        coded = np.frombuffer(payload.ljust(-(-len(payload) // 4) * 4 + 8, b"\0"), ">u4").astype(np.uint32)
        coder = constriction.stream.queue.RangeDecoder(coded)
        parts = []
        for step in script.steps:
            try:
                words = coder.decode(_uniform(step.protocol.index_bits), step.protocol.tracks).astype(np.int64)
            except AssertionError:
                words = np.zeros(step.protocol.tracks, np.int64)
            parts.append(pack_numbers(words, step.protocol.index_bits + 1).ravel())
        bits = np.concatenate(parts)
        return bits, np.ones(len(bits), bool)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, "0,0.0001,0.001,0.01")
    parser.add_argument("--bpp", type=float, default=0.1, help="bits per pixel of the entropy-coded files (0.1)")
    options = parser.parse_args()
    bpp = options.bpp
    show(
        measure(
            options,
            {
                "diffc": DiffC(bpp=bpp),
                "diffc-fixed-length": PlainDiffC(bpp=bpp),
                "tracks-range-coded[protect=none]": RangeCodedTracks(bpp=bpp, protect="none"),
                "tracks[protect=none]": TracksCodec(bpp=bpp, protect="none"),
                "turbo-ddcm[count=73]": TurboDDCM(count=73, free_steps=5),
                "robust-turbo-ddcm[count=73]": RobustTurboDDCM(count=73, free_steps=5),
            },
        )
    )


def _uniform(index_bits: int) -> constriction.stream.model.Uniform:
    return constriction.stream.model.Uniform(1 << (index_bits + 1))


if __name__ == "__main__":
    main()
