"""What arrived of a chain's payload: usable bits, and a report of the damage step by step."""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flipproof import container
from flipproof.bits import BitArray
from flipproof.codec.script import Script
from flipproof.protection.blocks import Recovered
from flipproof.result import Damage, StepDamage

__all__ = ["Reception", "Retrieve", "receive", "spans"]

Retrieve: TypeAlias = Callable[[Script, bytes, NDArray[np.bool_]], tuple[BitArray, NDArray[np.bool_]]]
"""Maps a payload and which of its bits arrived to the bits of all steps and which of them are usable."""


@dataclass(frozen=True, eq=False)
class Reception:
    """What arrived of a payload.

    Attributes:
        bits: Bits of all steps.
        known: Which of them are usable.
        reliability: Their absolute log-likelihood ratios; None where only the bits count.
        damage: What is wrong with them.
    """

    bits: BitArray
    known: NDArray[np.bool_]
    reliability: NDArray[np.float32] | None
    damage: Damage

    @property
    def key(self) -> tuple[bytes, bytes, bytes]:
        """Equal for receptions that give the same picture."""
        doubts = b"" if self.reliability is None else self.reliability.tobytes()
        return self.known.tobytes(), doubts, (self.bits & self.known).tobytes()


def spans(script: Script) -> list[tuple[int, int]]:
    """Returns the first bit and the bit after the last of every step."""
    return list(pairwise(accumulate((step.bits for step in script.steps), initial=0)))


def receive(file: container.Container, length: int, script: Script, retrieve: Retrieve, upto: float) -> Reception:
    """Repairs a payload and marks what did not arrive or is not to be used.

    Arguments:
        file: The opened file.
        length: Its bytes.
        script: What its header says.
        retrieve: How its codec stores the bits of the steps.
        upto: Leading share of the file to use, from 0 to 1.
    """
    size = script.payload_size
    payload = file.payload(size)
    data = np.packbits(payload.bits & payload.known).tobytes()
    sent = container.packed_size(len(file.fields), size, file.plan)
    extra = max(0, length - sent)
    damage = Damage(
        repaired_bits=file.repaired_bits + payload.flips,
        failed_blocks=payload.failed,
        missing_bits=int((~payload.known).sum()),
        payload_intact=bool(payload.known.all()) and binascii.crc_hqx(data, 0) == script.common.checksum,
        notes=(*file.notes, *([f"{extra} extra bytes"] if extra and not file.notes else [])),
        steps=() if script.stored is not None else _steps(script, payload),
    )
    prefix = _prefix(file, size, math.ceil(upto * max(length, sent)), upto)
    wanted = payload.known & (np.arange(8 * size) < 8 * prefix)
    bits, usable = retrieve(script, data, wanted)
    faults = _faults(script, bits) + int(wanted.all() and not usable.all())
    notes = (*damage.notes, f"{faults} value(s) that no encoder writes") if faults else damage.notes
    doubtful = script.stored is None and np.isfinite(payload.reliability[payload.known]).any()
    reliability = payload.reliability[: len(bits)] if doubtful else None
    return Reception(bits, usable, reliability, damage.with_notes(notes))


def _prefix(file: container.Container, size: int, length: int, upto: float) -> int:
    """Returns how many payload bytes the first ``length`` bytes of a file hold; of a protected one, its share."""
    if file.plan.tiers:
        return math.ceil(upto * size)
    beyond = length - container.packed_size(len(file.fields), 0, file.plan)
    return file.safe + beyond if beyond >= 0 else 0


def _steps(script: Script, payload: Recovered) -> tuple[StepDamage, ...]:
    return tuple(
        StepDamage(
            bits=end - start,
            repaired=int(payload.repaired[start:end].sum()),
            suspect=int((payload.suspect & payload.known)[start:end].sum()),
            lost=int((~payload.known[start:end]).sum()),
        )
        for start, end in spans(script)
    )


def _faults(script: Script, bits: BitArray) -> int:
    """Counts the values of a payload that no encoder writes."""
    coded = ((step.protocol, a, b) for step, (a, b) in zip(script.steps, spans(script), strict=True) if step.protocol)
    return int(sum(protocol.faults(bits[None, a:b])[0] for protocol, a, b in coded))
