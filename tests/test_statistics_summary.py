from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tables
from flipproof.study.plan import Trials
from flipproof.study.statistics.interval import binomial_interval, bootstrap_interval
from flipproof.study.statistics.summary import summarise
from flipproof.study.statistics.table import points_table
from flipproof.study.store.row import ERROR, FAILED, Score

STUDY = tables.record(metrics=("psnr", "lpips-alex"))


def summary(study, rows):
    return {(p.dataset, p.codec, p.channel): p for p in summarise(tables.table(study, rows), study)}


def mean_of_means(rows, value):
    by_picture = defaultdict(list)
    for row in rows:
        if value(row) is not None:
            by_picture[row.picture].append(min(value(row), 100.0))
    return [statistics.fmean(values) for values in by_picture.values()]


def check_against_loops(study, rows):
    """Everything once more, in plain Python."""
    points = summary(study, rows)
    groups = defaultdict(list)
    for row in rows:
        groups[row.dataset, row.codec, row.channel].append(row)
    assert set(points) == set(groups)
    for key, group in groups.items():
        point, kept = points[key], [row for row in group if row.status != ERROR]
        failures = sum(row.status == FAILED for row in kept)
        assert (point.files, point.errors, point.failures) == (len(kept), len(group) - len(kept), failures)
        assert point.pictures == len({row.picture for row in kept})
        interval = binomial_interval(failures, len(kept))
        assert (point.failure_low, point.failure_high) == (interval.low, interval.high)
        for metric in study.metrics:
            for estimates, value in (
                (point.decodable, lambda row, name=metric.name: row.scores.get(name, Score(None, None)).value),
                (point.all_files, lambda row, name=metric.name: row.scores.get(name, Score(None, None)).all_files),
            ):
                means, estimate = mean_of_means(kept, value), estimates[metric.name]
                if not means:
                    assert estimate is None
                    continue
                assert (estimate.pictures, estimate.mean) == (len(means), pytest.approx(statistics.fmean(means)))
                bounds = bootstrap_interval(means, seed=study.plan.seed)
                assert (estimate.low is None) == (bounds is None)
                if bounds is not None:
                    assert (estimate.low, estimate.high) == pytest.approx((bounds.low, bounds.high))


def test_made_up_studies_have_their_means_and_intervals():
    check_against_loops(STUDY, tables.rows(STUDY, tables.varied))


outcomes = st.lists(
    st.one_of(
        st.floats(5, 60).map(tables.good),
        st.just(tables.good(math.inf, lpips_alex=0.0)),
        st.just(tables.failed(12.0, lpips_alex=0.9)),
        st.just(tables.error()),
        st.none(),
    ),
    min_size=36,
    max_size=36,
)


@settings(max_examples=25, deadline=None)
@given(outcomes)
def test_whatever_happens_to_the_files(some):
    study = tables.record(metrics=("psnr", "lpips-alex"), channels=("bsc[ber=0]", "bsc[ber=0.01]", "bsc[ber=0.1]"))
    rest = iter(some)
    check_against_loops(study, tables.rows(study, lambda *_: next(rest)))


def test_means_over_all_files_and_over_decodable_ones_stand_apart():
    rows = tables.rows(STUDY, lambda p, c, ch, trial: tables.failed(10.0) if trial else tables.good(30.0))
    point = summary(STUDY, rows)["photos", "jpeg[bpp=0.5]", "bsc[ber=0.01]"]
    assert (point.decodable["psnr"].mean, point.all_files["psnr"].mean) == (30.0, 20.0)
    assert (point.decodable["psnr"].complete, point.all_files["psnr"].complete) == (False, True)
    assert (point.failures, point.failure_rate) == (3, 0.5)


def test_a_file_without_a_picture_counts_nowhere_as_an_equal_picture():
    rows = tables.rows(STUDY, lambda *_: tables.failed(10.0))
    point = summary(STUDY, rows)["photos", "jpeg[bpp=0.5]", "bsc[ber=0.01]"]
    assert point.decodable == {"psnr": None, "lpips-alex": None}
    assert point.all_files["psnr"].mean == 10.0
    assert point.all_files["lpips-alex"] is None


def test_an_equal_picture_counts_as_100_db():
    rows = tables.rows(STUDY, lambda *_: tables.good(math.inf, lpips_alex=0.0))
    point = summary(STUDY, rows)["photos", "jpeg[bpp=0.5]", "bsc[ber=0]"]
    assert (point.decodable["psnr"].mean, point.decodable["psnr"].complete) == (100.0, True)


def test_a_picture_with_more_trials_weighs_no_more():
    def score(picture, codec, channel, trial):
        if picture.name == "a":
            return tables.good(20.0)
        return tables.good(30.0) if trial == 0 else None

    point = summary(STUDY, tables.rows(STUDY, score))["photos", "jpeg[bpp=0.5]", "bsc[ber=0.01]"]
    assert point.all_files["psnr"].mean == pytest.approx((20 + 30 + 30) / 3)
    assert not point.all_files["psnr"].complete


@pytest.mark.parametrize(
    ("score", "decodable", "all_files"),
    [
        (lambda p, t: tables.good(30.0), True, True),
        (lambda p, t: None if p == "b" else tables.good(30.0), False, False),
        (lambda p, t: None if (p, t) == ("b", 1) else tables.good(30.0), False, False),
        (lambda p, t: tables.error() if p == "b" else tables.good(30.0), False, False),
        (lambda p, t: tables.error() if (p, t) == ("b", 1) else tables.good(30.0), False, False),
        (lambda p, t: tables.failed() if (p, t) == ("b", 1) else tables.good(30.0), False, True),
        (lambda p, t: tables.good(math.nan) if (p, t) == ("b", 1) else tables.good(30.0), False, False),
    ],
    ids=["all", "no picture", "no trial", "picture in error", "error", "failed", "no number"],
)
def test_a_mean_over_other_files_than_the_plans_is_marked(score, decodable, all_files):
    study = tables.record(channels=("bsc[ber=0.01]",))
    rows = tables.rows(study, lambda picture, codec, channel, trial: score(picture.name, trial))
    point = summary(study, rows)["photos", "jpeg[bpp=0.5]", "bsc[ber=0.01]"]
    assert (point.decodable["psnr"].complete, point.all_files["psnr"].complete) == (decodable, all_files)
    assert point.expected_pictures == 3


def test_a_metric_that_some_files_lack_is_marked_alone():
    def score(picture, *_):
        return tables.good(30.0) if picture.name == "a" else tables.good(30.0, lpips_alex=0.1)

    point = summary(STUDY, tables.rows(STUDY, score))["photos", "jpeg[bpp=0.5]", "bsc[ber=0]"]
    assert (point.all_files["psnr"].complete, point.all_files["lpips-alex"].complete) == (True, False)
    assert point.all_files["lpips-alex"].pictures == 2


def rounds(until, score):
    study = tables.record(channels=("bsc[ber=0.01]",), trials=Trials(least=2, most=6, **until))
    rows = tables.rows(study, lambda picture, codec, channel, trial: score(picture.name, trial))
    return summary(study, rows)["photos", "jpeg[bpp=0.5]", "bsc[ber=0.01]"]


def test_trials_that_a_rule_ended_are_complete():
    assert rounds({"until_db": 1.0}, lambda p, t: tables.good(30.0) if t < 2 else None).all_files["psnr"].complete


def test_trials_that_a_rule_goes_on_with_are_not():
    spread = rounds({"until_db": 0.1}, lambda p, t: tables.good(30.0 + 9 * (t % 2)) if t < 4 else None)
    assert not spread.all_files["psnr"].complete
    uneven = rounds({"until_db": 1.0}, lambda p, t: tables.good(30.0) if t < 2 or (p, t) == ("a", 2) else None)
    assert not uneven.all_files["psnr"].complete


def test_points_come_in_the_plans_order_and_only_where_there_are_rows():
    study = tables.record(datasets=("photos", "more"), codecs=("bpg[bpp=0.5]", "jpeg[bpp=0.5]"))
    rows = tables.rows(study, lambda p, c, ch, t: None if (c.name, ch) == ("bpg", "bsc[ber=0]") else tables.good(30.0))
    made = [(p.dataset, p.codec, p.channel) for p in summarise(tables.table(study, rows[::-1]), study)]
    clean, noisy = study.channels
    one = [("bpg[bpp=0.5]", noisy), ("jpeg[bpp=0.5]", clean), ("jpeg[bpp=0.5]", noisy)]
    assert made == [(dataset, *pair) for dataset in ("photos", "more") for pair in one]
    assert summarise(tables.table(study, []), study) == []


def test_one_picture_has_no_interval_and_no_file_has_no_rate():
    study = tables.record(pictures=("a",), trials=1)
    rows = tables.rows(study, lambda p, c, *_: tables.error() if c.name == "bpg" else tables.good(30.0))
    points = summary(study, rows)
    assert points["photos", "jpeg[bpp=0.5]", "bsc[ber=0]"].all_files["psnr"].low is None
    lost = points["photos", "bpg[bpp=0.5]", "bsc[ber=0]"]
    assert (lost.pictures, lost.files, lost.errors, lost.bpp, lost.encode_seconds) == (0, 0, 1, 0.0, 0.0)
    assert (lost.failure_rate, lost.failure_low, lost.failure_high) == (0.0, 0.0, 1.0)
    assert lost.all_files == {"psnr": None}


def test_bits_are_means_and_seconds_medians_over_pictures():
    study = tables.record(channels=("bsc[ber=0.01]",))
    rows = tables.rows(study)
    order = {"a": 0, "b": 1, "c": 5}
    rows = [
        replace(
            row,
            bpp=0.5 + order[row.picture],
            parity_bits=order[row.picture],
            repaired_bits=row.trial,
            encode_seconds=float(order[row.picture]),
            decode_seconds=order[row.picture] + row.trial,
        )
        for row in rows
    ]
    point = summarise(tables.table(study, rows), study)[0]
    assert (point.bpp, point.parity_bits, point.repaired_bits, point.header_bits) == (2.5, 2.0, 0.5, 100.0)
    assert (point.encode_seconds, point.decode_seconds) == (1.0, 1.5)


def test_equal_rows_have_equal_numbers_to_the_last_bit():
    rows = tables.rows(STUDY, tables.varied)
    assert summarise(tables.table(STUDY, rows), STUDY) == summarise(tables.table(STUDY, rows), STUDY)


def test_the_seed_of_the_plan_draws_the_pictures():
    study = tables.record(pictures=[f"p{i}" for i in range(12)])
    table = tables.table(study, tables.rows(study, tables.varied))
    other = study.model_copy(update={"plan": study.plan.model_copy(update={"seed": 1})})
    one, two = (summarise(table, each)[0].all_files["psnr"] for each in (study, other))
    assert one.mean == two.mean
    assert (one.low, one.high) != (two.low, two.high)


def test_points_make_a_table_with_a_column_for_every_number():
    study = tables.record(metrics=("psnr", "lpips-alex"), channels=("bsc[ber=0.01]", "awgn[snr=4,soft=true]"))
    rows = tables.rows(study, lambda p, c, ch, t: tables.failed(10.0) if c.name == "bpg" else tables.good(math.inf))
    points = summarise(tables.table(study, rows), study)
    table = points_table(points, study.metrics)
    assert table["ber"].to_pylist() == [0.01, None] * 2
    assert table["psnr"].to_pylist() == [100.0, 100.0, None, None]
    assert table["psnr_all"].to_pylist() == [100.0, 100.0, 10.0, 10.0]
    assert table["psnr_all_complete"].to_pylist() == [True] * 4
    assert table["lpips_alex_all_pictures"].to_pylist() == [None] * 4
    assert len(points_table([], study.metrics)) == 0
    assert points_table([], study.metrics).schema == table.schema
    assert np.all(np.array(table["failures"]) == [0, 0, 6, 6])


def test_pictures_that_were_renamed_and_equal_ones_count_once():
    study = tables.record(datasets=("photos", "more"))
    rows = [replace(row, picture="old name", dataset="old folder") for row in tables.rows(study)]
    pictures = (*study.pictures, study.pictures[0].model_copy(update={"name": "again", "dataset": "more"}))
    points = summarise(tables.table(study, rows), study.model_copy(update={"pictures": pictures}))
    assert {(p.dataset, p.pictures, p.expected_pictures, p.all_files["psnr"].complete) for p in points} == {
        ("photos", 3, 3, True),
        ("more", 3, 3, True),
    }
