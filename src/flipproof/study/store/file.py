"""An encoded file of a study, as it is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from flipproof.codec.split import Split

__all__ = ["EncodedFile"]


@dataclass(frozen=True)
class EncodedFile:
    """An encoded file.

    Attributes:
        data: The file.
        seconds: Wall time that encoding took.
        split: How the file divides.
    """

    data: bytes
    seconds: float
    split: Split

    def pack(self) -> bytes:
        """Returns everything as bytes: a line of JSON, then the file."""
        head = {"seconds": self.seconds, "split": asdict(self.split)}
        return json.dumps(head).encode() + b"\n" + self.data

    @classmethod
    def unpack(cls, packed: bytes) -> EncodedFile:
        """Reads what :meth:`pack` returned."""
        head, _, data = packed.partition(b"\n")
        fields = json.loads(head)
        return cls(data, float(fields["seconds"]), Split(**fields["split"]))
