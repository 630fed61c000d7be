"""What decoding gives back: a picture, how well it went, and what was damaged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from flipproof.errors import DamagedError, DecodeError
from flipproof.image import RgbImage

__all__ = ["Damage", "DecodeResult", "Status"]


class Status(StrEnum):
    """How a decode went."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True)
class StepDamage:
    """What happened to the bits of one step of a chain.

    Attributes:
        bits: All its bits.
        repaired: Those put right.
        suspect: Those in blocks beyond repair: most of them right, nobody knows which.
        lost: Those that did not arrive.
    """

    bits: int
    repaired: int = 0
    suspect: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Damage:
    """What the decoder noticed; flips in unprotected bits leave no trace but a failed checksum.

    Attributes:
        repaired_bits: Flipped bits that error correction put right, header included.
        failed_blocks: Protected blocks with more flips than their code corrects; their raw bits were used.
        missing_bits: Payload bits that were not there.
        payload_intact: Whether the payload matches its checksum; None where the format has none.
        notes: Anything else, one line each.
        steps: The steps of a chain, if the format has them.
    """

    repaired_bits: int = 0
    failed_blocks: int = 0
    missing_bits: int = 0
    payload_intact: bool | None = None
    notes: tuple[str, ...] = ()
    steps: tuple[StepDamage, ...] = ()

    def with_notes(self, notes: tuple[str, ...]) -> Damage:
        """Returns the same damage with other notes."""
        return replace(self, notes=notes)

    def share(self, kind: str) -> float:
        """Returns the share of all bits of steps that are ``repaired``, ``suspect`` or ``lost``, from 0 to 1."""
        return float(sum(getattr(s, kind) for s in self.steps) / max(1, sum(s.bits for s in self.steps)))

    def __str__(self) -> str:
        """One line for people."""
        parts = [
            f"{self.repaired_bits} bits repaired" if self.repaired_bits else "",
            f"{self.failed_blocks} protected blocks beyond repair" if self.failed_blocks else "",
            f"{self.missing_bits} bits missing" if self.missing_bits else "",
            "payload damaged" if self.payload_intact is False else "",
            *(self._where(kind) for kind in ("suspect", "lost")),
            *self.notes,
        ]
        return ", ".join(part for part in parts if part) or "no damage seen"

    def _where(self, kind: str) -> str:
        """Says which steps have bits of a kind, and what share of all bits that is."""
        hit = [index for index, step in enumerate(self.steps) if getattr(step, kind)]
        if not hit:
            return ""
        return f"{100 * self.share(kind):.2g} % of the bits {kind} (of the steps {hit[0]} to {hit[-1]})"


@dataclass(frozen=True, eq=False)
class DecodeResult:
    """A decoded picture.

    Attributes:
        image: Array with shape (H, W, 3), uint8; None only if the status is ``failed``.
        status: ``ok`` (nothing wrong is visible in the picture), ``degraded`` (there is a picture, damaged), or
            ``failed`` (there is none).
        damage: What was noticed.
        codec: Name of the codec that made the file.
        error: Why there is no picture; empty unless the status is ``failed``.
    """

    image: RgbImage | None
    status: Status
    damage: Damage = field(default_factory=Damage)
    codec: str = ""
    error: str = ""

    @property
    def picture(self) -> RgbImage:
        """The image, for code that needs one.

        Raises:
            DecodeError: There is none.
        """
        if self.image is None:
            raise DecodeError(self.error)
        return self.image

    def require_ok(self) -> DecodeResult:
        """Returns itself if the status is ``ok``.

        Raises:
            DamagedError: The status is ``degraded`` or ``failed``; the error carries this result.
        """
        if self.status is Status.OK:
            return self
        raise DamagedError(f"{self.status}: {self.error or self.damage}", self)
