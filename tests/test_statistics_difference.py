from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import tables
from flipproof.errors import UnknownNameError
from flipproof.study.statistics.difference import differences, matrix
from flipproof.study.statistics.summary import summarise

STUDY = tables.record(pictures=[f"p{i}" for i in range(12)], metrics=("psnr", "lpips-alex"), trials=3)
NOISY = "bsc[ber=0.01]"


def compare(rows, study=STUDY, **options):
    return differences(tables.table(study, rows), study, **options)


def noisy(found):
    return next(each for each in found if each.channel == NOISY)


def test_what_one_codec_always_has_more_has_an_interval_of_that():
    def score(picture, codec, channel, trial):
        shared = tables.varied(picture, tables.codec_entry("jpeg[bpp=0.5]"), channel, trial)["scores"]["psnr"].value
        return tables.good(shared + 1.5 * (codec.name == "jpeg"))

    for each in compare(tables.rows(STUDY, score)):
        assert (each.mean, each.low, each.high) == pytest.approx((1.5, 1.5, 1.5))
        assert (each.codec, each.other, each.decided, each.left_out) == ("jpeg[bpp=0.5]", "bpg[bpp=0.5]", True, 0)
        assert (each.pictures, each.pairs) == (12, 36 if each.channel == NOISY else 12)


def test_the_mean_is_the_difference_of_means_and_its_interval_narrower_than_theirs():
    rows = tables.rows(STUDY, tables.varied)
    points = {(p.codec, p.channel): p.all_files["psnr"] for p in summarise(tables.table(STUDY, rows), STUDY)}
    for each in compare(rows):
        one, other = points[each.codec, each.channel], points[each.other, each.channel]
        assert each.mean == pytest.approx(one.mean - other.mean)
        assert 0 < each.high - each.low < min(one.high - one.low, other.high - other.low) / 3


def test_the_interval_is_scipys_over_pictures_but_for_chance():
    rows = tables.rows(STUDY, tables.varied)
    each = noisy(compare(rows))
    values = {(r.codec, r.picture, r.trial): r.scores["psnr"].value for r in rows if r.channel == NOISY}
    deltas = [
        np.mean([values[each.codec, p.name, t] - values[each.other, p.name, t] for t in range(3)])
        for p in STUDY.pictures
    ]
    reference = stats.bootstrap(
        (deltas,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    allowed = 6 * 0.065 * np.std(deltas) / np.sqrt(len(deltas))
    assert (each.low, each.high) == pytest.approx((reference.low, reference.high), abs=allowed)


def test_no_difference_is_decided_about_as_rarely_as_it_should():
    """Twelve pictures: the percentile bootstrap decides in 5 to 12 % of cases where there is nothing.

    The error probability of this test is 1e-6 at either side.
    """
    channels = [f"bsc[ber=0.{place:03}]" for place in range(1, 201)]
    study = tables.record(pictures=[f"p{i}" for i in range(12)], trials=1, channels=channels)
    rng = np.random.default_rng(0)
    found = compare(tables.rows(study, lambda *_: tables.good(30 + rng.normal())), study)
    decided = sum(each.decided for each in found)
    assert stats.binom.ppf(1e-6, 200, 0.05) <= decided <= stats.binom.ppf(1 - 1e-6, 200, 0.12)


def test_files_without_a_picture_count_as_gray_and_errors_as_no_pair():
    def score(picture, codec, channel, trial):
        if codec.name == "bpg" and channel == NOISY and trial == 0:
            return tables.failed(10.0) if picture.name == "p0" else tables.error()
        return tables.good(30.0)

    each = noisy(compare(tables.rows(STUDY, score)))
    assert (each.pairs, each.left_out, each.pictures) == (36 - 11, 11, 12)
    assert each.mean == pytest.approx((30 - 10) / 3 / 12)


def test_files_that_met_other_noise_are_no_pair():
    rows = [
        replace(row, channel_seed="other") if row.codec.startswith("bpg") and row.picture == "p3" else row
        for row in tables.rows(STUDY, tables.varied)
    ]
    each = noisy(compare(rows))
    assert (each.pictures, each.pairs, each.left_out) == (11, 33, 3)
    rows = [replace(row, channel_seed=row.codec) for row in rows]
    assert compare(rows) == []


def test_an_anchor_turns_pairs_round():
    study = tables.record(codecs=("jpeg[bpp=0.5]", "bpg[bpp=0.5]", "jpeg[bpp=1.0]"), pictures=("a", "b", "c", "d"))
    table = tables.table(study, tables.rows(study, tables.varied))
    pairs = {(d.codec, d.other): d for d in differences(table, study, channels=[NOISY])}
    assert list(pairs) == [
        ("jpeg[bpp=0.5]", "bpg[bpp=0.5]"),
        ("jpeg[bpp=0.5]", "jpeg[bpp=1.0]"),
        ("bpg[bpp=0.5]", "jpeg[bpp=1.0]"),
    ]
    anchored = matrix(table, study, NOISY, "bpg[bpp=0.5]")
    assert [each.codec for each in anchored] == ["jpeg[bpp=0.5]", "jpeg[bpp=1.0]"]
    assert anchored[0] == pairs["jpeg[bpp=0.5]", "bpg[bpp=0.5]"]
    back = pairs["bpg[bpp=0.5]", "jpeg[bpp=1.0]"]
    assert (anchored[1].mean, anchored[1].low) == pytest.approx((-back.mean, -back.high), abs=1e-9)


def test_data_sets_are_compared_apart():
    study = tables.record(datasets=("photos", "more"), channels=(NOISY,))
    rows = tables.rows(study, lambda p, c, *_: tables.good(30.0 + (c.name == "jpeg") * (1 + (p.dataset == "more"))))
    assert [(each.dataset, each.mean) for each in compare(rows, study)] == [("photos", 1.0), ("more", 2.0)]


def test_codecs_and_metrics_without_rows_make_no_pair():
    study = tables.record(metrics=("psnr", "lpips-alex"), pictures=("a",))
    rows = tables.rows(study, lambda p, c, *_: None if c.name == "bpg" else tables.good(30.0))
    assert compare(rows, study) == compare(rows, study, anchor="bpg[bpp=0.5]") == compare([], study) == []
    assert compare(tables.rows(study), study, metric="lpips-alex") == []
    table = tables.table(study, tables.rows(study)).drop_columns(["lpips_alex", "lpips_alex_all"])
    assert differences(table, study, "lpips-alex") == []
    alone = compare(tables.rows(study), study)[0]
    assert (alone.low, alone.decided) == (None, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "dists"}, "unknown metric of the study 'dists'; known: psnr, lpips-alex"),
        ({"anchor": "webp"}, r"unknown codec of the study 'webp'; known: jpeg\[bpp=0.5\], bpg\[bpp=0.5\]"),
        ({"channels": ["bsc[ber=1]"]}, r"unknown channel of the study 'bsc\[ber=1\]'"),
    ],
)
def test_names_the_study_does_not_have_are_refused(options, message):
    with pytest.raises(UnknownNameError, match=message):
        compare([], **options)


def test_pictures_that_were_renamed_are_still_pairs():
    rows = [replace(row, picture=row.codec, dataset="old folder") for row in tables.rows(STUDY, tables.varied)]
    assert compare(rows) == compare(tables.rows(STUDY, tables.varied))
