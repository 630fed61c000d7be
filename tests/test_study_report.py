"""What the numbers of a study mean, and what its report shows."""

from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.stats import binomtest

import studies
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import MissingExtraError, SpecError
from flipproof.study import report
from flipproof.study.run import run
from flipproof.study.store import FAILED
from flipproof.study.summary import MAX_DB, binomial_interval, bootstrap_interval, summarise
from studies import CLEAN, SEVERE, TINY, BrokenCodec, RawCodec, WrongSizeCodec


@pytest.fixture(name="pictures")
def _pictures():
    return studies.pictures()


@pytest.fixture(name="codecs")
def _codecs():
    return studies.codecs()


def test_summary_means_and_clips(tmp_path, pictures, codecs):
    rows = run(TINY, pictures, codecs, tmp_path)
    cells = {(cell.codec, cell.channel): cell for cell in summarise(rows, TINY)}
    clean, worst = cells["raw", CLEAN], cells["raw", SEVERE]
    assert (clean.psnr_db, clean.psnr_all_db, clean.files, clean.failures) == (MAX_DB, MAX_DB, 2, 0)
    kept = [row for row in rows if (row.codec, row.channel) == ("raw", SEVERE)]
    assert worst.failures == sum(row.status == FAILED for row in kept) == 6
    assert worst.psnr_db is None
    assert worst.psnr_all_db == pytest.approx(np.mean([row.psnr_all_db for row in kept]))
    assert worst.psnr_all_low <= worst.psnr_all_db <= worst.psnr_all_high


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (20, 20), (3, 20), (1, 1), (250, 1000)])
def test_binomial_interval_is_that_of_scipy(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(method="exact")
    interval = binomial_interval(successes, trials)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_binomial_interval_of_nothing_is_everything_and_of_nonsense_an_error():
    assert (binomial_interval(0, 0).low, binomial_interval(0, 0).high) == (0, 1)
    with pytest.raises(SpecError, match="expected"):
        binomial_interval(3, 2)


def test_bootstrap_interval_is_seeded_and_close_to_the_normal_one():
    values = list(np.random.default_rng(0).normal(20, 2, 400))
    interval = bootstrap_interval(values, seed=1)
    half = 1.96 * np.std(values) / 20
    assert interval == bootstrap_interval(values, seed=1)
    assert interval != bootstrap_interval(values, seed=2)
    assert (interval.low, interval.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=0.03)
    assert bootstrap_interval([1.0], seed=1) is None


class Page(HTMLParser):
    """Collects addresses, texts and classes, and checks that tags are closed in order."""

    VOID = frozenset({"img", "meta", "input", "br", "link"})

    def __init__(self, html):
        super().__init__()
        self.open, self.addresses, self.text, self.ids = [], [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[key] for key in ("src", "href", "srcset", "data-original") if attrs.get(key)]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        if tag not in self.VOID:
            self.handle_starttag(tag, attrs)
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def odd(pictures):
    """A study with an odd name and one of every status."""
    plan = replace(TINY, photographs=("hill", "<b>&"), codecs=("raw", "jpeg[quality=50]", "broken", "short"))
    codecs = {"raw": RawCodec(), "broken": BrokenCodec(), "short": WrongSizeCodec()}
    codecs["jpeg[quality=50]"] = JpegCodec(quality=50)
    return plan, {"hill": pictures["hill"], "<b>&": pictures["noise"]}, codecs


def test_the_page_is_whole_and_needs_nothing_else(tmp_path, odd):
    plan, pictures, codecs = odd
    run(plan, pictures, codecs, tmp_path, command="flipproof study run 'tiny'")
    path = report.write(tmp_path)
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert page.addresses
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    for text in (*plan.codecs, "<b>&", "broken: 0.1 bpp is too low", "flipproof study run 'tiny'", "mid-gray"):
        assert text in page.text


def test_the_report_has_figures_and_a_summary(tmp_path, odd):
    plan, pictures, codecs = odd
    run(plan, pictures, codecs, tmp_path)
    report.write(tmp_path)
    for name in ("psnr.png", "failures.png", "wall.png"):
        with Image.open(tmp_path / name) as image:
            assert 1000 <= image.width <= 1300
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert len(lines) == 1 + len(plan.codecs) * len(plan.channels)


def test_a_report_made_again_is_the_same(tmp_path, pictures, codecs):
    run(TINY, pictures, codecs, tmp_path)
    first = report.write(tmp_path).read_bytes()
    assert report.write(tmp_path).read_bytes() == first


def test_a_study_of_one_codec_without_errors_has_a_report(tmp_path, pictures, codecs):
    plan = replace(TINY, photographs=("hill",), codecs=("raw",), channels=(CLEAN,))
    run(plan, pictures, codecs, tmp_path)
    assert "without bit errors" in report.write(tmp_path).read_text(encoding="utf-8")


def test_the_headline_compares_the_ends_of_the_ranking(tmp_path, pictures, codecs):
    cells = summarise(run(TINY, pictures, codecs, tmp_path), TINY)
    top = report.headline(cells, TINY)
    assert top.one_in == "one bit in 100"
    assert top.best.psnr_all_db >= top.worst.psnr_all_db
    assert (top.clean.codec, top.clean.channel) == (top.best.codec, CLEAN)


def test_the_table_has_a_line_per_codec(tmp_path, pictures, codecs):
    cells = summarise(run(TINY, pictures, codecs, tmp_path), TINY)
    console = Console(width=120, record=True, quiet=False, file=(tmp_path / "table").open("w"))
    with console.file:
        console.print(*report.tables(cells, TINY))
    text = console.export_text()
    assert "jpeg[quality=50]" in text
    assert "100.0 / 100.0" in text
    assert "100 % lost" in text


def test_a_missing_package_says_how_to_get_it(tmp_path, pictures, codecs, monkeypatch):
    run(TINY, pictures, codecs, tmp_path)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"jinja2 is not installed; run: pip install 'flipproof\[study\]'"):
        report.write(tmp_path)
