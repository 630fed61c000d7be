"""Studies that were never run: made-up rows with the shape of real ones, and a store of them."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from flipproof import registry, seeds
from flipproof.study.plan import Plan
from flipproof.study.record import CodecEntry, MetricEntry, PictureEntry, Record, Unreadable
from flipproof.study.series import bit_error_rate, is_clean
from flipproof.study.store.row import ERROR, FAILED, Row, Score, to_table

RATES = (0, 1e-4, 1e-3, 1e-2)
CHANNELS = tuple(f"bsc[ber={rate:g}]" for rate in RATES)
METRICS = {"psnr": True, "lpips-alex": False, "ms-ssim": True}
HOSTILE = "</script><img src=x onerror=document.title='broken'>"


def record(
    codecs=("jpeg[quality=30]", "tracks[bpp=0.1]"),
    channels=CHANNELS,
    pictures=2,
    datasets=("photographs",),
    metrics=("psnr", "lpips-alex"),
    trials=3,
    side=32,
    skipped=(),
    unreadable=(),
):
    """A record; codecs in ``skipped`` are (spelling, reason)."""
    plan = Plan(
        name="made-up",
        seed=7,
        pictures=datasets,
        codecs=[*codecs, *(spelling for spelling, _ in skipped)],
        channels=channels,
        trials=trials,
        metrics=metrics,
        frame=f"centre[{side}]",
    )
    reasons = dict(skipped)
    return Record(
        plan=plan,
        codecs=tuple(_codec(spelling, reasons.get(spelling, "")) for spelling in plan.codecs),
        channels=tuple(channels),
        pictures=tuple(
            _picture(dataset, f"{dataset}-{index:02}", side) for dataset in datasets for index in range(pictures)
        ),
        unreadable=tuple(Unreadable(dataset=datasets[0], name=name, reason=why) for name, why in unreadable),
        metrics=tuple(
            MetricEntry(name=name, column=name.replace("-", "_"), higher_is_better=METRICS[name]) for name in metrics
        ),
        versions={"flipproof": "0.6.0", "torch": "2.13.0", "platform": "Linux x86_64"},
        command="flipproof study run made-up.toml --out out/made-up",
    )


def _picture(dataset, name, side):
    digest = hashlib.sha256(name.encode()).hexdigest()
    return PictureEntry(dataset=dataset, name=name, sha256=digest, height=side, width=side)


def _codec(spelling, reason):
    name, texts = registry.parse(spelling)
    rate = texts.pop("bpp", None)
    rest = ",".join(f"{key}={value}" for key, value in texts.items())
    return CodecEntry(
        spelling=spelling,
        name=name,
        family=f"{name}[{rest}]" if rest else name,
        asked_bpp=float(rate) if rate else None,
        config=dict(texts),
        weights="" if name in ("jpeg", "webp") else f"{name}:{'ab' * 32}",
        skipped=reason,
    )


def rows(study, steps=6):
    """All rows of a study, none of them an error: quality falls with the bit error rate, codec by codec."""
    made = []
    for entry in study.measured_codecs:
        for picture in study.pictures:
            for channel in study.channels:
                made += [_row(study, entry, picture, channel, trial, steps) for trial in _trials(study, channel)]
    return made


def _trials(study, channel):
    return range(1 if is_clean(channel) else study.plan.trials.least)


def _row(study, entry, picture, channel, trial, steps):
    rng = seeds.generator(purpose="made-up rows", codec=entry.spelling, picture=picture.name, channel=channel, n=trial)
    own = seeds.generator(purpose="made-up codecs", codec=entry.family)
    clean, knee, spread, lost = own.uniform(23, 27), own.uniform(-4, -1), own.uniform(0.35, 0.9), own.uniform(0, 0.6)
    rate = entry.asked_bpp or own.uniform(0.05, 1.0)
    clean += 4 * math.log10(rate / 0.1) + 2 * math.sin(sum(map(ord, picture.name)))
    ber = bit_error_rate(channel)
    ber = 1e-3 if ber is None else ber
    damage = 1 / (1 + math.exp(-(math.log10(ber) - knee) / spread)) if ber else 0.0
    psnr = max(6.0, clean - damage * (clean - 9) + (0.3 * rng.standard_normal() if ber else 0))
    failed = bool(ber) and rng.random() < lost * damage
    size = max(24, round(rate * picture.width * picture.height / 8))
    flips = int(rng.binomial(8 * size, ber)) if ber else 0
    chain = entry.name not in ("jpeg", "webp", "bpg", "jpeg2000", "avif", "jpegxl")
    bits = 8 * size
    header, parity = min(bits, 64), bits // 8 if chain else 0
    sign = (bits - header - parity) // 4 if chain else 0
    return Row(
        key=f"{seeds.derive(codec=entry.spelling, picture=picture.name, channel=channel, trial=trial):032x}"[-32:],
        study=study.plan.name,
        dataset=picture.dataset,
        picture=picture.name,
        picture_sha256=picture.sha256,
        height=picture.height,
        width=picture.width,
        codec=entry.spelling,
        codec_config="{}",
        weights=entry.weights,
        asked_bpp=entry.asked_bpp,
        channel=channel,
        trial=trial,
        seed=study.plan.seed,
        channel_seed=f"{seeds.derive(picture=picture.name, channel=channel, trial=trial):032x}"[-32:],
        flips=flips,
        file_bytes=size,
        bpp=bits / picture.width / picture.height,
        header_bits=header,
        index_bits=bits - header - parity - sign,
        sign_bits=sign,
        parity_bits=parity,
        status=FAILED if failed else "degraded" if flips else "ok",
        error="no picture" if failed else "",
        repaired_bits=flips // 2 if chain else 0,
        steps=tuple(_step(bits // steps, ber, index / steps) for index in range(steps)) if chain else (),
        encode_seconds=own.uniform(0.01, 4),
        decode_seconds=own.uniform(0.01, 2),
        decode_batch=16,
        device="cpu",
        host="host",
        versions="{}",
        scores={metric.name: _score(metric.name, psnr, failed) for metric in study.metrics},
    )


def _step(bits, ber, place):
    repaired = round(bits * min(1, 2 * ber) * (1 - place))
    suspect = round(bits * min(1, 20 * ber) * place)
    return bits, min(bits, repaired), min(bits - repaired, suspect), 0


def _score(metric, psnr, failed):
    value = {"psnr": psnr, "lpips-alex": max(0.02, (32 - psnr) / 26), "ms-ssim": min(0.99, psnr / 29)}[metric]
    gray = {"psnr": 11.0, "lpips-alex": 0.9, "ms-ssim": 0.2}[metric]
    return Score(None if failed else value, gray if failed else value)


def with_errors(made, spelling, picture, message="too few bits"):
    """Marks every cell of a codec on a picture as an error."""
    return [_broken(row, message) if (row.codec, row.picture) == (spelling, picture) else row for row in made]


def _broken(row, message):
    return Row(
        **{name: getattr(row, name) for name in list(Row.__dataclass_fields__)[:15]}, status=ERROR, error=message
    )


@dataclass
class FakeStore:
    """What the report reads of a store."""

    study: Record
    made: list[Row]

    def record(self):
        return self.study

    def table(self):
        return to_table(self.made, [metric.name for metric in self.study.measured_metrics])

    def original(self, picture):
        return self._png(picture, 0) if picture in self._gallery() else None

    def decoded(self, picture, codec, channel):
        row = self._first.get((picture, codec, channel))
        if picture not in self._gallery() or row is None or row.status in (FAILED, ERROR):
            return None
        return self._png(picture, 1 + row.flips)

    def worst(self, codec, channel):
        row = self._lowest.get((codec, channel))
        return None if row is None else (row.key, self._png(row.picture, 1 + row.flips))

    @cached_property
    def _first(self):
        return {(row.picture, row.codec, row.channel): row for row in self.made if row.trial == 0}

    @cached_property
    def _lowest(self):
        found = [row for row in self.made if row.status not in (FAILED, ERROR)]
        found.sort(key=lambda row: -row.scores["psnr"].value)
        return {(row.codec, row.channel): row for row in found}

    def _gallery(self):
        return [picture.name for picture in self.study.pictures[: self.study.plan.gallery]]

    def _png(self, picture, noise):
        entry = next(entry for entry in self.study.pictures if entry.name == picture)
        hue = sum(map(ord, picture)) % 200
        y, x = np.mgrid[: entry.height, : entry.width]
        image = np.stack([hue + 0 * x, 255 * x / entry.width, 255 * y / entry.height], axis=2)
        rng = np.random.default_rng(noise)
        image += min(60, noise) * rng.standard_normal(image.shape) if noise else 0
        buffer = io.BytesIO()
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
