"""The JSON of Google's Codec-Compare (https://github.com/webmproject/codec-compare), which its web page opens.

A file holds one batch: a family of codecs on one channel and data set, a row for each received file at any rate.
``batches.json`` lists the batches; serve the folder beside a build of the page and open
``index.html?load=batches.json``. The page compares rows of the same picture and of nearly the same quality. It takes
nothing for zero, so rows without a score, which are errors, are left out and counted; files without a picture have the
scores of a mid-gray one and say so under ``status``, which the page can filter by.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flipproof.study.export.name import file_name
from flipproof.study.record import MetricEntry, Record
from flipproof.study.statistics.interval import MAX_DB
from flipproof.study.store.row import ERROR, FAILED

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["contents"]

_FIELDS = {
    "picture": ("original_name", "Name of the picture"),
    "width": ("width", "Columns of the picture"),
    "height": ("height", "Rows of the picture"),
    "codec": ("setting", "Spelling of the codec"),
    "trial": ("trial", "Index of the damaged copy"),
    "flips": ("flips", "Wrong bits of the received file"),
    "status": ("status", "ok, degraded or failed; what failed is a mid-gray picture"),
    "file_bytes": ("encoded_size", "Size of the file in bytes, everything counted"),
    "bpp": ("bpp", "Bits per pixel of the file"),
    "encode_seconds": ("encoding_time", "Wall time of encoding in seconds"),
    "decode_seconds": ("decoding_time", "Wall time of decoding in seconds"),
}
"""Names the page knows where it has one; others become fields of their own."""

_METRICS = {
    "psnr": ("psnr", "Peak signal-to-noise ratio in dB; 100 for an equal picture"),
    "ms-ssim": ("msssim", "Multi-scale structural similarity"),
    "lpips-alex": ("lpips", "Learned perceptual distance, trunk Alex; lower is better"),
    "ssimulacra2": ("ssimulacra2", "SSIMULACRA 2"),
}


def contents(table: pa.Table, record: Record) -> dict[str, str]:
    """Returns a file for every data set, family and channel, and the list of them."""
    families = {codec.spelling: codec.family for codec in record.codecs}
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in _rows(table, record):
        groups.setdefault((row["dataset"], families[row["codec"]], row["channel"]), []).append(row)
    made: dict[str, str] = {}
    for place, rows in groups.items():
        batch = _batch(place, rows, record)
        if batch["field_values"]:
            made[file_name(place, ".json", {*made, "batches.json"})] = json.dumps(batch) + "\n"
    return made | {"batches.json": json.dumps([[name] for name in made], indent=2) + "\n"}


def _rows(table: pa.Table, record: Record) -> list[dict[str, Any]]:
    scores = [f"{metric.column}_all" for metric in record.measured_metrics]
    names = [*_FIELDS, "dataset", "channel", "created", *(name for name in scores if name in table.column_names)]
    rows: list[dict[str, Any]] = table.select(names).to_pylist()
    return rows


def _batch(place: tuple[str, str, str], rows: Sequence[dict[str, Any]], record: Record) -> dict[str, Any]:
    metrics = [metric for metric in record.measured_metrics if any(_score(row, metric) is not None for row in rows)]
    kept = [row for row in rows if row["status"] != ERROR and all(_score(row, m) is not None for m in metrics)]
    fields = list(_FIELDS.values()) + [_METRICS.get(m.name, (m.column, f"Metric {m.name}")) for m in metrics]
    constants = _constants(place, rows, len(kept), record)
    return {
        "constant_descriptions": [{name: description} for name, description, _ in constants],
        "constant_values": [value for _, _, value in constants],
        "field_descriptions": [{name: description} for name, description in fields],
        "field_values": [[*(row[name] for name in _FIELDS), *(_score(row, m) for m in metrics)] for row in kept],
    }


def _constants(
    place: tuple[str, str, str], rows: Sequence[dict[str, Any]], kept: int, record: Record
) -> list[tuple[str, str, str]]:
    dataset, family, channel = place
    newest = datetime.fromtimestamp(max(row["created"] for row in rows), tz=UTC)
    failed = sum(row["status"] == FAILED for row in rows)
    return [
        ("name", "Codec and channel", f"{family} {channel}"),
        ("codec", "Codec, without its rate", family),
        ("version", "Version of flipproof", record.versions.get("flipproof", "")),
        ("time", "When the last row was measured", newest.isoformat()),
        ("source_data_set", "Where the pictures come from", dataset),
        ("channel", "What happens to the files", channel),
        ("failed_files", "Files without a picture, of those here", str(failed)),
        ("left_out", "Cells without a file or a score", str(len(rows) - kept)),
        ("study_command", "What repeats the study", record.command),
    ]


def _score(row: dict[str, Any], metric: MetricEntry) -> float | None:
    value = row.get(f"{metric.column}_all")
    if value is None or value != value:
        return None
    return min(float(value), MAX_DB) if metric.name == "psnr" else float(value)
