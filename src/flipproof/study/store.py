"""The folder a study lives in: ``plan.json``, ``rows.csv`` and ``pictures/``."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from PIL import Image

from flipproof.errors import SpecError
from flipproof.image import RgbImage
from flipproof.study.plan import Plan

__all__ = ["ERROR", "FAILED", "SCHEMA", "Record", "Row", "Store", "first_trials", "to_csv"]

ERROR = "error"
FAILED = "failed"

SCHEMA = 2
"""Version of ``plan.json`` and of the columns of ``rows.csv``."""


@dataclass(frozen=True)
class Row:
    """One received file.

    Attributes:
        study: Name of the plan.
        photograph: Name of the picture.
        codec: Spelling of the codec, as the plan has it.
        channel: Spelling of the channel, as the plan has it.
        trial: Index of the damaged copy.
        seed: Seed of the plan.
        flips: Bits of the sent file that the received one, in hard decisions, has wrong; bits that are missing and
            bits beyond the end count too.
        file_bytes: Size of the file, everything counted.
        bpp: ``8 * file_bytes`` over the pixels of the crop.
        status: ``ok``, ``degraded`` or ``failed`` as decoded; ``error`` if the codec gave up.
        psnr_db: Against the crop; infinite for an equal picture, None without a picture.
        psnr_all_db: The same, with a mid-gray picture in the place of one that failed; None after an error.
        encode_seconds: Wall time of encoding the file.
        decode_seconds: Wall time of decoding the batch, over the files in it; files received alike are one.
        repaired_bits: Flips that error correction put right.
        error: Why there is no picture.
        version: flipproof's.
    """

    study: str
    photograph: str
    codec: str
    channel: str
    trial: int
    seed: int
    flips: int
    file_bytes: int
    bpp: float
    status: str
    psnr_db: float | None
    psnr_all_db: float | None
    encode_seconds: float
    decode_seconds: float
    repaired_bits: int
    error: str
    version: str


@dataclass(frozen=True)
class Record:
    """How a study came about, as ``plan.json`` keeps it.

    Attributes:
        plan: What is measured.
        codecs: Canonical spelling of each codec, by the plan's.
        pictures: SHA-256 of each crop's samples, by photograph.
        versions: Of flipproof and what it stands on, by name.
        command: The command that repeats the study; empty if it was not started by one.
    """

    plan: Plan
    codecs: dict[str, str]
    pictures: dict[str, str]
    versions: dict[str, str]
    command: str = ""

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides the measured values; studies with equal ones can be continued."""
        config = self.get_config()
        kept = {key: config[key] for key in ("plan", "codecs", "pictures")}
        kept |= {"versions": self.decisive_versions, "schema": SCHEMA}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def decisive_versions(self) -> dict[str, str]:
        """The versions that decide measured values."""
        return {name: self.versions.get(name, "") for name in ("flipproof", "small prior")}

    def get_config(self) -> dict[str, Any]:
        """Returns the attributes, JSON-serialisable."""
        return asdict(self) | {"plan": self.plan.get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Record:
        """Builds a record from what :meth:`get_config` returned.

        Raises:
            SpecError: Something is missing or out of range.
        """
        try:
            kept = {field.name: config[field.name] for field in fields(cls)}
        except KeyError as error:
            raise SpecError(f"study: expected {error} in its plan.json") from error
        return cls(**(kept | {"plan": Plan.from_config(config["plan"])}))


@dataclass(frozen=True)
class Store:
    """A study's folder.

    Attributes:
        folder: Made when the study begins.
    """

    folder: Path

    def begin(self, record: Record) -> list[Row]:
        """Opens the folder for a study.

        If it holds the same study, its finished groups (photograph x codec, without errors) are kept and
        everything else is dropped. Rows of another study, or in columns of another version, are set aside as
        ``rows.<fingerprint>.csv``.

        Returns:
            The rows kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        kept: list[Row] = []
        if self._plan_path.exists() and self._rows_path.exists():
            fingerprint = self._fingerprint()
            if fingerprint == record.fingerprint:
                kept = _finished(self.rows(), record.plan)
            else:
                self._rows_path.replace(self.folder / f"rows.{fingerprint}.csv")
        self.write(record, kept)
        return kept

    def write(self, record: Record, rows: Sequence[Row]) -> None:
        """Puts a study with these rows into the folder, over what is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = record.get_config() | {"fingerprint": record.fingerprint, "schema": SCHEMA}
        self._plan_path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        self._rows_path.write_text(to_csv(rows, Row), encoding="utf-8", newline="")

    def append(self, rows: Sequence[Row]) -> None:
        """Adds rows to ``rows.csv``; they are on disk when this returns."""
        body = to_csv(rows, Row).partition("\n")[2]
        with self._rows_path.open("a", encoding="utf-8", newline="") as file:
            file.write(body)

    def rows(self) -> list[Row]:
        """Reads the rows; a last line that was cut off in writing is left out.

        Raises:
            SpecError: A value is not of its column's type, or columns are missing.
        """
        text = self._rows_path.read_text(encoding="utf-8")
        lines = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
        try:
            return [_row(line) for line in lines]
        except (KeyError, TypeError, ValueError) as error:
            raise SpecError(f"{self._rows_path}, line {lines.line_num}: expected a row of a study ({error})") from error

    def record(self) -> Record:
        """Reads ``plan.json``.

        Raises:
            SpecError: It is not there, is no record of a study, or has the columns of another version.
        """
        config = self._config()
        if config.get("schema") != SCHEMA:
            made = f"{config.get('schema', 1)}, of another version of flipproof"
            raise SpecError(f"{self.folder}: expected a study of schema {SCHEMA}, got {made}; run it again")
        return Record.from_config(config)

    def save_picture(self, path: Path, image: RgbImage) -> None:
        """Writes a picture as PNG, making its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)

    def original_path(self, photograph: str) -> Path:
        """Returns where the crop of a photograph is kept."""
        return self.folder / "pictures" / _slug(photograph) / "original.png"

    def picture_path(self, photograph: str, codec: str, channel: str) -> Path:
        """Returns where the decoded picture of the first trial is kept; there is none if decoding failed."""
        return self.folder / "pictures" / _slug(photograph) / f"{_slug(codec)}_{_slug(channel)}.png"

    def _config(self) -> dict[str, Any]:
        try:
            config = json.loads(self._plan_path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SpecError(f"expected a study in {self.folder}, got no readable plan.json") from error
        if not isinstance(config, dict):
            raise SpecError(f"expected a study in {self.folder}, got a plan.json of another kind")
        return config

    def _fingerprint(self) -> str:
        """Returns the fingerprint of the study in the folder; other versions hash other things."""
        config = self._config()
        if config.get("schema") == SCHEMA:
            return Record.from_config(config).fingerprint
        return _slug(str(config.get("fingerprint", "unknown")))

    @property
    def _plan_path(self) -> Path:
        return self.folder / "plan.json"

    @property
    def _rows_path(self) -> Path:
        return self.folder / "rows.csv"


def to_csv(records: Iterable[object], kind: type) -> str:
    r"""Writes dataclass instances of one kind as CSV with a header line; None becomes an empty field.

    Example:
        >>> from flipproof.errors import SpecError
        >>> @dataclass
        ... class Point:
        ...     x: int
        ...     y: float | None
        >>> to_csv([Point(1, None)], Point)
        'x,y\n1,\n'
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([field.name for field in fields(kind)])
    writer.writerows(astuple(record) for record in records)  # type: ignore[call-overload]
    return buffer.getvalue()


def first_trials(rows: Iterable[Row], photograph: str) -> dict[tuple[str, str], Row]:
    """Returns the first trials of a photograph by (codec, channel): those whose pictures are kept."""
    kept = (row for row in rows if row.photograph == photograph and row.trial == 0)
    return {(row.codec, row.channel): row for row in kept}


def _row(line: dict[str, str]) -> Row:
    hints = get_type_hints(Row)
    values: dict[str, Any] = {name: _value(line[name], hint) for name, hint in hints.items()}
    return Row(**values)


def _value(text: str, hint: type) -> object:
    options = get_args(hint) or (hint,)
    if not text and type(None) in options:
        return None
    value: object = options[0](text)
    return value


def _finished(rows: Sequence[Row], plan: Plan) -> list[Row]:
    """Keeps the groups that have every cell of the plan and no error."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.photograph, row.codec].append(row)
    cells = sorted(plan.cells())
    return [
        row
        for group in groups.values()
        if sorted((row.channel, row.trial) for row in group) == cells and all(row.status != ERROR for row in group)
        for row in group
    ]


def _slug(text: str) -> str:
    """Makes a file name; names that differ only in odd characters are told apart by a short hash."""
    slug = re.sub(r"[^A-Za-z0-9.=_-]+", "-", text).strip("-.")
    return slug if slug == text else f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
