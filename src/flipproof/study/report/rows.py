"""What the report takes from the rows themselves: damage by step, the worst files, what computed, and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flipproof.study.extras import needs_extra
from flipproof.study.record import Record
from flipproof.study.series import is_clean

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MOST_BINS", "MOST_WORST", "damage_by_step", "devices", "errors", "first_trials", "worst_files"]

MOST_BINS = 64
"""Longer chains are shown in that many groups of successive steps."""

MOST_WORST = 300
"""Most files in the list of the worst ones."""

_MOST_ERRORS = 200

_STEPS = f"""
WITH lengths AS (SELECT codec, max(len(steps)) AS length FROM study GROUP BY codec),
parts AS (
    SELECT dataset, codec, channel, length, unnest(steps) AS step, generate_subscripts(steps, 1) AS place
    FROM study JOIN lengths USING (codec) WHERE length > 0
),
binned AS (
    SELECT *, CASE WHEN length > {MOST_BINS} THEN (place - 1) * {MOST_BINS} // length ELSE place - 1 END AS bin
    FROM parts
)
SELECT dataset, codec, channel, bin, min(place)::INT AS first, max(place)::INT AS last, sum(step[1])::DOUBLE AS bits,
    coalesce(sum(step[2]) / nullif(sum(step[1]), 0), 0)::DOUBLE AS repaired,
    coalesce(sum(step[3]) / nullif(sum(step[1]), 0), 0)::DOUBLE AS suspect,
    coalesce(sum(step[4]) / nullif(sum(step[1]), 0), 0)::DOUBLE AS lost
FROM binned GROUP BY dataset, codec, channel, bin ORDER BY dataset, codec, channel, bin
"""

_WORST = """
WITH clean AS (
    SELECT picture_sha256, codec, min(least(psnr, 100)) AS clean
    FROM study WHERE list_contains($clean, channel) AND psnr IS NOT NULL GROUP BY ALL
),
files AS (
    SELECT dataset, picture, codec, channel, trial, seed, channel_seed, flips, key, least(psnr, 100) AS psnr, clean,
        CASE WHEN list_contains($clean, channel) THEN NULL ELSE clean - least(psnr, 100) END AS fall
    FROM study LEFT JOIN clean USING (picture_sha256, codec) WHERE psnr IS NOT NULL
),
ranked AS (
    SELECT *,
        row_number() OVER (PARTITION BY dataset, codec, channel ORDER BY psnr, picture, trial) AS lowest,
        row_number() OVER (PARTITION BY dataset, codec, channel ORDER BY fall DESC NULLS LAST, picture, trial)
            AS steepest
    FROM files
)
SELECT * EXCLUDE (lowest, steepest) FROM ranked
WHERE lowest = 1 OR (steepest = 1 AND fall IS NOT NULL)
ORDER BY psnr, codec, channel, picture, trial
"""

_DEVICES = """
SELECT dataset, codec, list_sort(list_distinct(list(device))) AS devices, count(DISTINCT host) AS hosts,
    median(decode_batch)::DOUBLE AS batch
FROM study WHERE status != 'error' GROUP BY dataset, codec ORDER BY dataset, codec
"""

_FIRST = """
SELECT picture, codec, channel, status, psnr, flips, error, bpp, file_bytes FROM study
WHERE trial = 0 AND list_contains($pictures, picture) ORDER BY picture, codec, channel
"""

_ERRORS = """
SELECT codec, picture, error, count(*)::INT AS cells FROM study WHERE status = 'error'
GROUP BY codec, picture, error ORDER BY codec, picture, error
"""


def damage_by_step(table: pa.Table) -> list[dict[str, Any]]:
    """Returns the shares of the bits of every step that were repaired, suspect and lost.

    Returns:
        One item for each data set, codec, channel and bin: ``dataset``, ``codec``, ``channel``, ``first`` and ``last``
        step in the bin, from 1, ``bits`` of all files, and ``repaired``, ``suspect`` and ``lost``, from 0 to 1.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    return _query(table, _STEPS)


def worst_files(table: pa.Table, record: Record) -> list[dict[str, Any]]:
    """Returns, of every codec on every channel, the file with the lowest PSNR and the one that fell the most.

    Files without a picture are not among them; infinite PSNR counts as 100 dB.

    Returns:
        At most :data:`MOST_WORST` items, lowest PSNR first; ``clean`` is the PSNR of the same file without errors and
        ``fall`` the difference to it, None where it was not measured.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    found = _query(table, _WORST, clean=[channel for channel in record.channels if is_clean(channel)])
    if len(found) <= MOST_WORST:
        return found
    steep = sorted(found, key=lambda file: -(file["fall"] or 0.0))[: MOST_WORST // 2]
    kept = {file["key"] for file in steep} | {file["key"] for file in found[: MOST_WORST // 2]}
    return [file for file in found if file["key"] in kept]


def devices(table: pa.Table) -> list[dict[str, Any]]:
    """Returns what decoded the files of every data set and codec: ``devices``, number of ``hosts``, median ``batch``.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    return _query(table, _DEVICES)


def errors(table: pa.Table) -> list[dict[str, Any]]:
    """Returns the errors of a study by codec and picture, and how many ``cells`` each left empty; at most 200.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    return _query(table, _ERRORS)[:_MOST_ERRORS]


def first_trials(table: pa.Table, pictures: Sequence[str]) -> list[dict[str, Any]]:
    """Returns how the first trials of some pictures went, in the order of the table.

    Returns:
        ``picture``, ``codec``, ``channel``, ``status``, ``psnr``, ``flips``, ``error``, ``bpp`` and ``file_bytes`` of
        each.

    Raises:
        MissingExtraError: DuckDB is not installed.
    """
    return _query(table, _FIRST, pictures=list(pictures))


def _query(table: pa.Table, statement: str, **parameters: object) -> list[dict[str, Any]]:
    with needs_extra():
        import duckdb
    with duckdb.connect() as connection:
        connection.register("study", table)
        found: list[dict[str, Any]] = connection.sql(statement, params=parameters).to_arrow_table().to_pylist()
    return found
