"""Which rows of a study count, and in what order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flipproof.study.extras import needs_extra
from flipproof.study.record import Record
from flipproof.study.store.row import ERROR

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["in_order", "newest"]


def newest(table: pa.Table) -> pa.Table:
    """Keeps one row for each key: any that is no error, else the latest."""
    with needs_extra():
        import numpy as np
        import pyarrow.compute as pc
    if len(set(table["key"].to_pylist())) == len(table):
        return table
    bad = pc.equal(table["status"], ERROR).to_numpy(zero_copy_only=False)
    order = np.lexsort((table["created"].to_numpy(), ~bad))
    last = {key: int(index) for index, key in zip(order, table["key"].take(order).to_pylist(), strict=True)}
    return table.take(sorted(last.values()))


def in_order(table: pa.Table, record: Record) -> pa.Table:
    """Keeps the rows that are cells of a study, in the order of pictures, codecs, channels and trials."""
    with needs_extra():
        import numpy as np
    pictures = {picture.sha256: index for index, picture in enumerate(record.pictures)}
    codecs = {(codec.spelling, codec.weights): index for index, codec in enumerate(record.codecs)}
    channels = {channel: index for index, channel in enumerate(record.channels)}
    trials = {channel: record.plan.trials_of(channel) for channel in record.channels}
    columns = ("picture_sha256", "codec", "weights", "channel", "trial", "seed")
    ranks = np.full((4, len(table)), -1)
    for index, (picture, codec, weights, channel, trial, seed) in enumerate(
        zip(*(table[name].to_pylist() for name in columns), strict=True)
    ):
        if seed == record.plan.seed and trial < trials.get(channel, 0):
            ranks[:, index] = (
                pictures.get(picture, -1),
                codecs.get((codec, weights), -1),
                channels[channel],
                trial,
            )
    order = np.lexsort(ranks[::-1])
    return table.take(order[ranks[:, order].min(axis=0, initial=0) >= 0])
