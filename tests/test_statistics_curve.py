from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import Akima1DInterpolator

import tables
from flipproof.errors import SpecError, UnknownNameError
from flipproof.study.statistics import bd, ber
from flipproof.study.statistics.curve import ber_curves, ber_gaps, quality, rate_curves, rate_gaps
from flipproof.study.statistics.summary import summarise

GENTLE = [(1e-5, 25.3), (1e-4, 24.9), (1e-3, 22.6), (1e-2, 17.8), (1e-1, 12.1)]
STEEP = [(1e-6, 25.8), (1e-4, 21.7), (3e-4, 18.2), (1e-3, 14.3), (1e-2, 11.0)]
CHANNELS = ("bsc[ber=0]", *(f"bsc[ber={rate:g}]" for rate in (1e-5, 1e-4, 1e-3, 1e-2)))
RATES = (0.1, 0.25, 0.5, 1.0)


def curve(pairs):
    return [ber.Point(*pair) for pair in pairs]


def test_the_gap_over_bit_error_rates_is_that_of_the_package_bjontegaard():
    """Version 1.3.0, Akima, with bit error rates for rates and negated qualities, which rise."""
    assert ber.bd_ber(curve(GENTLE), curve(STEEP)).value == pytest.approx(-5.069792121902064, abs=1e-9)
    assert ber.bd_ber(curve(STEEP), curve(GENTLE)).value == pytest.approx(5.069792121902064, abs=1e-9)


def test_the_gap_is_the_mean_difference_over_what_both_cover():
    drawn = [Akima1DInterpolator(np.log10([p for p, _ in pairs]), [q for _, q in pairs]) for pairs in (GENTLE, STEEP)]
    area, _ = quad(lambda at: drawn[1](at) - drawn[0](at), -5, -2, limit=200)
    found = ber.bd_ber(curve(GENTLE), curve(STEEP))
    assert (found.value, found.overlap) == (pytest.approx(area / 3, abs=1e-7), pytest.approx(3 / 4))


@settings(max_examples=30)
@given(st.lists(st.floats(5, 40), min_size=3, max_size=6), st.floats(-10, 10))
def test_a_curve_that_lies_higher_by_so_much_has_that_gap(qualities, shift):
    one = curve(zip(np.geomspace(1e-5, 1e-1, len(qualities)), qualities, strict=True))
    other = [ber.Point(point.bit_error_rate, point.quality + shift) for point in reversed(one)]
    assert ber.bd_ber(one, other).value == pytest.approx(shift, abs=1e-9)
    assert ber.bd_ber(one + one, other).value == pytest.approx(shift, abs=1e-9)


def test_there_is_a_reason_where_there_is_no_gap():
    cases = {
        "a curve has 2 points, fewer than 3": GENTLE[:2],
        "a curve has 0 points, fewer than 3": [],
        "there are two qualities at a bit error rate of 0.001": [*GENTLE, (1e-3, 20.0)],
        "a quality is not finite": [*GENTLE[:2], (1e-3, math.inf)],
        "the curves share 0 % of the narrower range, less than 50 %": [(p * 1e-9, q) for p, q in GENTLE],
    }
    for reason, pairs in cases.items():
        for anchor, test in ((GENTLE, pairs), (pairs, GENTLE)):
            assert ber.bd_ber(curve(anchor), curve(test)) == bd.Delta(None, pytest.approx(0.0), reason)


@pytest.mark.parametrize("rate", [0.0, -1e-3, math.nan, math.inf])
def test_the_channel_without_errors_is_not_on_the_axis(rate):
    with pytest.raises(SpecError, match="expected bit error rates above 0, got"):
        ber.bd_ber(curve(GENTLE), curve([*GENTLE, (rate, 30.0)]))


def study_of_curves(score, codecs=None):
    codecs = codecs or [f"{name}[bpp={rate}]" for name in ("jpeg", "bpg") for rate in RATES]
    study = tables.record(codecs=codecs, channels=CHANNELS, metrics=("psnr", "lpips-alex", "ms-ssim"), trials=1)
    return study, summarise(tables.table(study, tables.rows(study, score)), study)


def smooth(picture, codec, channel, trial):
    """BPG needs 20 % less, and is 3 dB worse in noise."""
    rate = codec.asked_bpp * (1.25 if codec.name == "bpg" else 1)
    level = 30 + 10 * math.log10(rate) - 2 * CHANNELS.index(channel)
    level -= 3 * (codec.name == "bpg" and channel != "bsc[ber=0]")
    return tables.good(level, lpips_alex=1 / level, ms_ssim=1 - 1 / level)


def test_families_have_curves_and_their_gap_is_what_went_in():
    study, points = study_of_curves(smooth)
    psnr, lpips, ms_ssim = study.metrics
    curves = rate_curves(points, "bsc[ber=0]", psnr)
    assert list(curves) == ["jpeg", "bpg"]
    assert [point.bpp for point in curves["jpeg"]] == pytest.approx(list(RATES), rel=1e-4)
    gaps = rate_gaps(points, psnr, "jpeg")
    assert [gap.channel for gap in gaps] == list(CHANNELS)
    assert gaps[0].delta.value == pytest.approx(-20, abs=0.01)
    assert (gaps[0].name, gaps[0].anchor, gaps[0].left_out) == ("bpg", "jpeg", 0)
    for metric in (lpips, ms_ssim):
        assert rate_gaps(points, metric, "jpeg")[0].delta.value == pytest.approx(-20, abs=0.01)


def test_codecs_have_curves_over_bit_error_rates():
    study, points = study_of_curves(smooth)
    curves = ber_curves(points, study.metrics[0])
    assert [point.bit_error_rate for point in curves["jpeg[bpp=0.5]"]] == [1e-5, 1e-4, 1e-3, 1e-2]
    gaps = {gap.name: gap for gap in ber_gaps(points, study.metrics[0], "jpeg[bpp=0.5]")}
    assert len(gaps) == 7
    assert gaps["jpeg[bpp=1.0]"].delta.value == pytest.approx(10 * math.log10(2))
    assert gaps["bpg[bpp=0.5]"].delta.value == pytest.approx(10 * math.log10(1.25) - 3)


def test_incomplete_points_are_left_out_and_counted():
    def score(picture, codec, channel, trial):
        if picture.name == "a" and codec.asked_bpp == 0.25 and codec.name == "bpg":
            return tables.error()
        return smooth(picture, codec, channel, trial)

    study, points = study_of_curves(score)
    left = [point.bpp for point in rate_curves(points, "bsc[ber=0]", study.metrics[0])["bpg"]]
    assert left == pytest.approx([0.1, 0.5, 1.0], rel=1e-4)
    assert {gap.left_out for gap in rate_gaps(points, study.metrics[0], "jpeg")} == {1}
    gaps = {gap.name: gap for gap in ber_gaps(points, study.metrics[0], "jpeg[bpp=0.5]")}
    assert (gaps["bpg[bpp=0.25]"].left_out, gaps["bpg[bpp=0.25]"].delta.value) == (4, None)
    assert gaps["bpg[bpp=0.5]"].left_out == 0


def test_anchors_that_are_not_there_are_refused_or_have_no_gap():
    study, points = study_of_curves(smooth)
    with pytest.raises(UnknownNameError, match="unknown family of the study 'webp'; known: jpeg, bpg"):
        rate_gaps(points, study.metrics[0], "webp")
    with pytest.raises(UnknownNameError, match="unknown codec of the study 'webp'"):
        ber_gaps(points, study.metrics[0], "webp")
    lone = [point for point in points if point.family == "bpg" or point.channel == "bsc[ber=0]"]
    gaps = rate_gaps(lone, study.metrics[0], "jpeg")
    assert gaps[1].delta.reason == "a curve has 0 points, fewer than 3"


def test_curves_of_several_data_sets_are_refused():
    study = tables.record(datasets=("photos", "more"))
    points = summarise(tables.table(study, tables.rows(study)), study)
    with pytest.raises(SpecError, match="expected points of one data set, got those of more, photos"):
        rate_curves(points, "bsc[ber=0]", study.metrics[0])
    with pytest.raises(SpecError, match="expected points of one data set"):
        ber_curves(points, study.metrics[0])
    assert {gap.dataset for gap in rate_gaps(points, study.metrics[0], "jpeg")} == {"photos", "more"}


def test_quality_is_higher_where_it_is_better():
    psnr, lpips, ms_ssim = study_of_curves(smooth)[0].metrics
    assert (quality(psnr, 30.0), quality(lpips, 0.25), quality(ms_ssim, 0.9)) == (30.0, -0.25, pytest.approx(10))
    assert (quality(ms_ssim, 1.0), quality(ms_ssim, 1 - 1e-16)) == (100.0, 100.0)
