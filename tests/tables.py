"""Studies without codecs: records and rows that are made up, for tests of what is computed from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from flipproof import registry, seeds
from flipproof.study.plan import Plan, Trials
from flipproof.study.record import CodecEntry, MetricEntry, PictureEntry, Record
from flipproof.study.store.row import ERROR, FAILED, Row, Score, column_of, to_table

CODECS = ("jpeg[bpp=0.5]", "bpg[bpp=0.5]")
CHANNELS = ("bsc[ber=0]", "bsc[ber=0.01]")
LOWER_IS_BETTER = {"lpips-alex", "lpips-vgg", "dists", "patch-fid"}


def record(
    codecs: Sequence[str] = CODECS,
    channels: Sequence[str] = CHANNELS,
    pictures: Sequence[str] = ("a", "b", "c"),
    metrics: Sequence[str] = ("psnr",),
    trials: int | Trials = 2,
    datasets: Sequence[str] = ("photos",),
    skipped: dict[str, str] | None = None,
    seed: int = 0,
    side: int = 512,
) -> Record:
    """Makes a record; every data set has all the pictures, as ``dataset/name`` from the second on."""
    plan = Plan(
        name="made-up",
        seed=seed,
        pictures=tuple(datasets),
        codecs=tuple(codecs),
        channels=tuple(channels),
        trials=trials,
        metrics=tuple(metrics),
    )
    return Record(
        plan=plan,
        codecs=tuple(codec_entry(spelling, (skipped or {}).get(spelling, "")) for spelling in codecs),
        channels=tuple(channels),
        pictures=tuple(
            PictureEntry(
                dataset=dataset,
                name=name if dataset == datasets[0] else f"{dataset}/{name}",
                sha256=f"{seeds.derive(dataset=dataset, name=name):064x}",
                height=side,
                width=side,
            )
            for dataset in datasets
            for name in pictures
        ),
        metrics=tuple(
            MetricEntry(name=name, column=column_of(name), higher_is_better=name not in LOWER_IS_BETTER)
            for name in plan.metrics
        ),
        versions={"flipproof": "0.0"},
        command="flipproof study run made-up",
    )


def codec_entry(spelling: str, skipped: str = "") -> CodecEntry:
    name, texts = registry.parse(spelling)
    bpp = texts.pop("bpp", None)
    rest = ",".join(f"{key}={value}" for key, value in texts.items())
    return CodecEntry(
        spelling=spelling,
        name=name,
        family=f"{name}[{rest}]" if rest else name,
        asked_bpp=None if bpp is None else float(bpp),
        config={"codec": name, **texts},
        weights="",
        skipped=skipped,
    )


def row(study: Record, picture: PictureEntry, codec: CodecEntry, channel: str, trial: int, **changes: object) -> Row:
    """Makes a row of a file of 0.5 bpp or the rate asked for; ``changes`` are attributes of the row."""
    axes = {"picture": picture.name, "channel": channel, "trial": trial, "seed": study.plan.seed}
    bpp = codec.asked_bpp or 0.5
    bits = int(bpp * picture.height * picture.width)
    values = {
        "key": f"{seeds.derive(codec=codec.spelling, **axes):032x}",
        "study": study.plan.name,
        "dataset": picture.dataset,
        "picture": picture.name,
        "picture_sha256": picture.sha256,
        "height": picture.height,
        "width": picture.width,
        "codec": codec.spelling,
        "codec_config": "{}",
        "weights": codec.weights,
        "asked_bpp": codec.asked_bpp,
        "channel": channel,
        "trial": trial,
        "seed": study.plan.seed,
        "channel_seed": f"{seeds.derive(**axes):032x}",
        "file_bytes": bits // 8,
        "bpp": bits / picture.height / picture.width,
        "header_bits": 100,
        "index_bits": bits - 100,
        "status": "ok",
        "encode_seconds": 0.5,
        "decode_seconds": 0.25,
        "decode_batch": 1,
        "created": 1e9 + trial,
        "versions": "{}",
    }
    return Row(**(values | changes))  # type: ignore[arg-type]


def good(psnr: float, **others: float) -> dict[str, object]:
    """The attributes of a decodable file with these scores; ``_`` in names stands for ``-``."""
    return {"scores": {name.replace("_", "-"): Score(value, value) for name, value in {"psnr": psnr, **others}.items()}}


def failed(gray: float = 10.0, **others: float) -> dict[str, object]:
    """The attributes of a file without a picture, with the scores of a mid-gray one."""
    scores = {name.replace("_", "-"): Score(None, value) for name, value in {"psnr": gray, **others}.items()}
    return {"status": FAILED, "error": "no picture", "scores": scores}


def error(text: str = "rate out of reach") -> dict[str, object]:
    """The attributes of a cell without a file."""
    return {"status": ERROR, "error": text, "file_bytes": 0, "bpp": 0.0, "header_bits": 0, "index_bits": 0}


def rows(
    study: Record, score: Callable[[PictureEntry, CodecEntry, str, int], dict[str, object] | None] | None = None
) -> list[Row]:
    """Makes every cell of a study; ``score`` gives the attributes of each, or None for one that is missing."""
    made = []
    for picture in study.pictures:
        for codec in study.measured_codecs:
            for channel in study.channels:
                for trial in range(study.plan.trials_of(channel)):
                    changes = good(30.0) if score is None else score(picture, codec, channel, trial)
                    if changes is not None:
                        made.append(row(study, picture, codec, channel, trial, **changes))
    return made


def table(study: Record, made: Iterable[Row]) -> pa.Table:
    return to_table(list(made), [metric.name for metric in study.measured_metrics])


def varied(picture: PictureEntry, codec: CodecEntry, channel: str, trial: int) -> dict[str, object]:
    """Scores like measured ones, the same every time: noise that codecs share, and some of their own."""
    shared = seeds.generator(picture=picture.name, channel=channel, trial=trial).normal()
    own = seeds.generator(picture=picture.name, channel=channel, trial=trial, codec=codec.spelling).normal()
    level = 20 + 8 * math.log2(1 + (codec.asked_bpp or 0.5)) + 2 * (channel == "bsc[ber=0]")
    return good(level + 2 * shared + 0.1 * own, lpips_alex=0.3 + 0.01 * own, ms_ssim=0.9 + 0.001 * own)
