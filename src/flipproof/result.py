"""What decoding gives back: a picture, how well it went, and what was damaged."""

from __future__ import annotations

from dataclasses import dataclass, field
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
class Damage:
    """What the decoder noticed; flips in unprotected bits leave no trace but a failed checksum.

    Attributes:
        repaired_bits: Flipped bits that error correction put right, header included.
        failed_blocks: Protected blocks with more flips than their code corrects; their raw bits were used.
        missing_bits: Payload bits that were not there.
        payload_intact: Whether the payload matches its checksum; None where the format has none.
        notes: Anything else, one line each.
    """

    repaired_bits: int = 0
    failed_blocks: int = 0
    missing_bits: int = 0
    payload_intact: bool | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for people."""
        parts = [
            f"{self.repaired_bits} bits repaired" if self.repaired_bits else "",
            f"{self.failed_blocks} protected blocks beyond repair" if self.failed_blocks else "",
            f"{self.missing_bits} bits missing" if self.missing_bits else "",
            "payload damaged" if self.payload_intact is False else "",
            *self.notes,
        ]
        return ", ".join(part for part in parts if part) or "no damage seen"


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
