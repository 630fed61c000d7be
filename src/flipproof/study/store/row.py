"""One received file: what is measured of it, and all that it takes to measure it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from flipproof.study.extras import needs_extra

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ERROR", "FAILED", "Row", "Score", "column_of", "to_table"]

ERROR = "error"
"""Status of a cell that gave no file: the codec, the channel or a worker gave up."""

FAILED = "failed"
"""Status of a received file without a picture."""


@dataclass(frozen=True)
class Score:
    """A picture under a metric.

    Attributes:
        value: None without a picture; infinite PSNR is kept as infinite.
        all_files: The same, with a mid-gray picture in the place of one that failed; None after an error.
    """

    value: float | None
    all_files: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One received file.

    Attributes:
        key: Of the cell: a hash of picture, codec, weights, channel, seed and trial, 32 hexadecimal digits.
        study: Name of the plan.
        dataset: Where the picture comes from.
        picture: Name of the picture.
        picture_sha256: Of its shape and samples, as it was coded.
        height: In pixels.
        width: In pixels.
        codec: Canonical spelling.
        codec_config: Its parameters, JSON.
        weights: Weights behind it as ``name:SHA-256``, with commas between; empty if there are none.
        asked_bpp: The rate that was asked for; None if none was.
        channel: Canonical spelling.
        trial: Index of the damaged copy.
        seed: Of the plan.
        channel_seed: What the damage was drawn from, 32 hexadecimal digits; the same for all codecs.
        flips: Bits of the sent file that the received one, in hard decisions, has wrong; bits that are missing and
            bits beyond the end count too.
        file_bytes: Size of the file, everything counted.
        bpp: ``8 * file_bytes`` over the pixels.
        header_bits: Of the file: magic, lengths and header fields.
        index_bits: Of atoms, or whatever else a codec stores.
        sign_bits: Of signs and coefficients of atoms.
        parity_bits: Of error-correcting codes, padding included.
        status: ``ok``, ``degraded`` or ``failed`` as decoded; ``error`` if there is no received file.
        error: Why there is no picture.
        repaired_bits: Flips that error correction put right.
        failed_blocks: Protected blocks beyond repair.
        missing_bits: Payload bits that did not arrive.
        steps: ``[bits, repaired, suspect, lost]`` of every step of the chain, if there is one.
        encode_seconds: Wall time of encoding the file, the device waited for.
        decode_seconds: Wall time of decoding the batch over the files in it; files received alike are one.
        decode_batch: Different files in that batch.
        device: What computed, as ``cpu`` or the name of a GPU.
        host: Name of the machine.
        versions: Of flipproof and what it stands on, JSON.
        created: When the row was made, seconds since 1970, UTC.
        scores: By the name of the metric.
    """

    key: str
    study: str
    dataset: str
    picture: str
    picture_sha256: str
    height: int
    width: int
    codec: str
    codec_config: str
    weights: str
    asked_bpp: float | None
    channel: str
    trial: int
    seed: int
    channel_seed: str
    flips: int = 0
    file_bytes: int = 0
    bpp: float = 0.0
    header_bits: int = 0
    index_bits: int = 0
    sign_bits: int = 0
    parity_bits: int = 0
    status: str = ERROR
    error: str = ""
    repaired_bits: int = 0
    failed_blocks: int = 0
    missing_bits: int = 0
    steps: tuple[tuple[int, int, int, int], ...] = ()
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    decode_batch: int = 0
    device: str = ""
    host: str = ""
    versions: str = ""
    created: float = 0.0
    scores: Mapping[str, Score] = field(default_factory=dict)


def column_of(metric: str) -> str:
    """Returns the column of a metric over files with a picture; that over all files has ``_all`` behind it.

    Example:
        >>> column_of("lpips-alex")
        'lpips_alex'
    """
    return metric.replace("-", "_")


def to_table(rows: Sequence[Row], metrics: Sequence[str]) -> pa.Table:
    """Makes an Arrow table of rows: a column for every attribute but ``scores``, then two for every metric.

    Raises:
        MissingExtraError: PyArrow is not installed.
    """
    with needs_extra():
        import pyarrow as pa
    schema = _schema(metrics)
    plain = [item.name for item in fields(Row) if item.name != "scores"]
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in plain}
    for metric in metrics:
        scores = [row.scores.get(metric, Score(None, None)) for row in rows]
        columns[column_of(metric)] = [score.value for score in scores]
        columns[f"{column_of(metric)}_all"] = [score.all_files for score in scores]
    return pa.Table.from_pydict(columns, schema=schema)


_INTEGERS = {"height", "width", "trial", "flips", "file_bytes", "repaired_bits", "failed_blocks", "missing_bits"}
_INTEGERS |= {"header_bits", "index_bits", "sign_bits", "parity_bits", "decode_batch", "seed"}
_FLOATS = {"asked_bpp", "bpp", "encode_seconds", "decode_seconds", "created"}


def _schema(metrics: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    def kind(name: str) -> pa.DataType:
        if name == "steps":
            return pa.list_(pa.list_(pa.int64()))
        return pa.int64() if name in _INTEGERS else pa.float64() if name in _FLOATS else pa.string()

    plain = [(item.name, kind(item.name)) for item in fields(Row) if item.name != "scores"]
    scored = [(name, pa.float64()) for metric in metrics for name in (column_of(metric), f"{column_of(metric)}_all")]
    return pa.schema(plain + scored)
