"""What a report is made of: the data of its page, its figures and files, and the summary for a terminal."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import tomllib
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

import report_data
from flipproof.errors import MissingExtraError
from flipproof.study import report
from flipproof.study.plan import Plan, Trials
from flipproof.study.report import figures, gallery, names, rows
from flipproof.study.report.methods import to_toml
from flipproof.study.report.page import render
from flipproof.study.report.pairs import curve_gaps, paired
from flipproof.study.report.payload import embed
from flipproof.study.series import bit_error_rate, series_of
from flipproof.study.statistics.difference import differences
from flipproof.study.statistics.summary import summarise

ASSETS = files("flipproof.study.report") / "assets"


@pytest.fixture(scope="module")
def store():
    record = report_data.record(metrics=("psnr", "lpips-alex"), unreadable=[("notes.txt", "not a picture")])
    return report_data.FakeStore(record, report_data.rows(record))


@pytest.fixture(scope="module")
def table(store):
    return store.table()


@pytest.fixture(scope="module")
def points(store, table):
    return summarise(table, store.record())


class Page(HTMLParser):
    """Collects addresses, ids and headings, and checks that tags are closed in order."""

    VOID = frozenset({"img", "meta", "input", "br", "link", "path", "circle"})

    def __init__(self, html):
        super().__init__()
        self.open, self.addresses, self.ids, self.levels = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [attrs[key] for key in ("src", "href", "srcset", "action") if attrs.get(key)]
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.levels += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(store, table, points):
    html = render(store, store.record(), table, points)
    page = Page(html)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert all(address.startswith("#") for address in page.addresses)
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    assert page.levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(page.levels))
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html.partition("<script>")[0])
    assert html == render(store, store.record(), table, points)


def test_writing_leaves_page_points_and_figures(store, points, tmp_path):
    path = report.write(store, tmp_path / "out")
    assert path == tmp_path / "out" / "report.html"
    assert pyarrow.csv.read_csv(path.with_name("points.csv")).num_rows == len(points)
    drawn = {file.name for file in (tmp_path / "out" / "figures").iterdir()}
    rated = {f"{metric}-rate-bsc-ber-0" for metric in ("psnr", "lpips-alex")}
    assert {"psnr-bsc", "lpips-alex-bsc", "failures-bsc", "steps-tracks"} | rated == {
        name.removesuffix(".svg") for name in drawn if name.endswith(".svg")
    }
    assert {name.replace(".svg", ".png") for name in drawn} <= drawn
    assert "wall.png" in drawn
    with Image.open(path.parent / "figures" / "psnr-bsc.png") as image:
        assert 1000 <= image.width <= 1300
    text = "".join(ElementTree.parse(path.parent / "figures" / "psnr-bsc.svg").getroot().itertext())
    assert "PSNR over all files" in text


def test_without_jinja_it_says_how_to_get_it(store, table, points, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"jinja2 is not installed; run: pip install 'flipproof\[study\]'"):
        render(store, store.record(), table, points)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(), st.lists))
def test_embedded_data_comes_back_and_cannot_end_its_element(value):
    text = embed({"value": value})
    assert json.loads(text)["value"] == value
    assert not set(text) & set("<>&\u2028\u2029")


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_embedded_numbers_are_close_or_null(value):
    kept = json.loads(embed([value]))[0]
    assert kept is None if not np.isfinite(value) else kept == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("name", ["d3.min.js", "plot.umd.min.js"])
def test_vendored_libraries_are_those_that_the_readme_names(name):
    readme = (ASSETS / "vendor" / "README.md").read_text()
    line = next(line for line in readme.splitlines() if f"`{name}`" in line)
    data = (ASSETS / "vendor" / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() in line
    assert b"</script" not in data.lower()
    licence = re.search(r"`(LICENSE-\w+)`", line)[1]
    assert "Permission to use, copy, modify" in (ASSETS / "vendor" / licence).read_text()


def test_no_asset_can_end_its_element():
    for asset in ASSETS.iterdir():
        if asset.is_file():
            assert not re.search(r"</(script|style)", asset.read_text(), re.IGNORECASE)


def test_damage_by_step_is_that_of_the_rows(store, table):
    found = {(item["codec"], item["channel"], item["bin"]): item for item in rows.damage_by_step(table)}
    for (codec, channel, step), item in found.items():
        made = [row.steps[step] for row in store.made if (row.codec, row.channel) == (codec, channel)]
        bits, repaired, suspect, lost = (sum(values) for values in zip(*made, strict=True))
        assert (item["first"], item["last"], item["bits"]) == (step + 1, step + 1, bits)
        shares = (item["repaired"], item["suspect"], item["lost"])
        assert shares == pytest.approx((repaired / bits, suspect / bits, lost / bits))
    assert {codec for codec, _, _ in found} == {"tracks[bpp=0.1]"}


def test_long_chains_are_put_in_bins():
    record = report_data.record(codecs=("ddcm[bpp=0.1]",), channels=("bsc[ber=0.01]",), pictures=1, trials=1, side=64)
    table = report_data.FakeStore(record, report_data.rows(record, steps=150)).table()
    bins = rows.damage_by_step(table)
    assert len(bins) == rows.MOST_BINS
    assert (bins[0]["first"], bins[-1]["last"]) == (1, 150)
    assert all(after["first"] == before["last"] + 1 for before, after in pairwise(bins))


def test_worst_files_are_the_lowest_and_those_that_fell_most(store, table):
    record = store.record()
    found = rows.worst_files(table, record)
    decoded = [row for row in store.made if row.scores["psnr"].value is not None]
    clean = {(row.codec, row.picture): row.scores["psnr"].value for row in decoded if row.channel == record.channels[0]}
    for codec in record.codecs:
        for channel in record.channels[1:]:
            own = [row for row in decoded if (row.codec, row.channel) == (codec.spelling, channel)]
            lowest = min(own, key=lambda row: row.scores["psnr"].value)
            steepest = max(own, key=lambda row: clean[row.codec, row.picture] - row.scores["psnr"].value)
            keys = {item["key"] for item in found if (item["codec"], item["channel"]) == (codec.spelling, channel)}
            assert keys == {lowest.key, steepest.key}
    assert [item["psnr"] for item in found] == sorted(item["psnr"] for item in found)
    assert all(item["fall"] is None for item in found if item["channel"] == record.channels[0])


def test_the_list_of_the_worst_files_is_bounded(monkeypatch, store, table):
    every = rows.worst_files(table, store.record())
    monkeypatch.setattr(rows, "MOST_WORST", 4)
    few = rows.worst_files(table, store.record())
    assert len(few) <= 4 < len(every)
    assert few[0] == every[0]
    assert max(item["fall"] or 0 for item in few) == max(item["fall"] or 0 for item in every)


def test_errors_are_counted_by_codec_and_picture(store):
    record = store.record()
    made = report_data.with_errors(store.made, "jpeg[quality=30]", "photographs-00")
    found = rows.errors(report_data.FakeStore(record, made).table())
    assert found == [
        {"codec": "jpeg[quality=30]", "picture": "photographs-00", "error": "too few bits", "cells": 1 + 3 * 3}
    ]


def test_devices_are_those_of_the_rows(store, table):
    found = rows.devices(table)
    assert {(item["codec"], *item["devices"], item["hosts"], item["batch"]) for item in found} == {
        ("jpeg[quality=30]", "cpu", 1, 16.0),
        ("tracks[bpp=0.1]", "cpu", 1, 16.0),
    }


def _pixels(text):
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_gallery_has_the_pictures_at_full_size_where_they_fit(store):
    record, album = store.record(), gallery.Album()
    wall = gallery.gallery(store, record, album)
    assert wall["side"] == 32
    assert [picture["name"] for picture in wall["pictures"]] == ["photographs-00", "photographs-01"]
    for picture, codec, channel, place in wall["tiles"]:
        name, spelling = wall["pictures"][picture]["name"], record.codecs[codec].spelling
        png = store.decoded(name, spelling, record.channels[channel])
        with Image.open(io.BytesIO(png)) as image:
            assert np.abs(_pixels(album.images[place]) - np.asarray(image)).mean() < 25
    assert len(set(album.images)) == len(album.images)


def test_the_gallery_keeps_to_its_budget(store):
    record = store.record()
    for budget in (100, 2_000, 10_000):
        album = gallery.Album(budget)
        wall = gallery.gallery(store, record, album)
        assert sum(map(len, album.images)) == budget - album.budget <= budget
        assert len(wall["pictures"]) in (1, 2)
    assert any(place is None for *_, place in wall["tiles"]) or wall["side"] <= 32


def test_pictures_of_the_worst_files_are_those_of_their_key(store, table):
    album = gallery.Album()
    found = rows.worst_files(table, store.record())
    places = gallery.worst_pictures(store, found, album)
    assert set(places) == {store.worst(item["codec"], item["channel"])[0] for item in found}
    assert gallery.worst_pictures(store, found, gallery.Album(10)) == {}


def test_a_study_without_pictures_has_no_gallery(store):
    empty = gallery.Album()
    plan = store.record().plan.model_copy(update={"gallery": 0})
    record = store.record().model_copy(update={"plan": plan})
    wall = gallery.gallery(report_data.FakeStore(record, store.made), record, empty)
    assert wall == {"side": 0, "pictures": [], "tiles": []}


def test_paired_differences_are_those_of_the_statistics(store, table):
    record = store.record()
    found = paired(table, record)
    expected = [each for metric in record.metrics for each in differences(table, record, metric.name)]
    assert found["mean"] == [each.mean for each in expected]
    assert [record.codecs[index].spelling for index in found["codec"]] == [each.codec for each in expected]
    assert [record.channels[index] for index in found["channel"]] == [each.channel for each in expected]


def test_gaps_need_three_points(points, store):
    gaps = curve_gaps(points, store.record())
    assert gaps["rate"] == []
    assert {(gap["name"], gap["anchor"]) for gap in gaps["ber"]} == {
        ("jpeg[quality=30]", "tracks[bpp=0.1]"),
        ("tracks[bpp=0.1]", "jpeg[quality=30]"),
    }
    codecs = tuple(f"{name}[bpp={rate}]" for name in ("tracks", "ddcm") for rate in (0.1, 0.2, 0.4))
    record = report_data.record(codecs=codecs, metrics=("psnr",))
    table = report_data.FakeStore(record, report_data.rows(record)).table()
    rated = curve_gaps(summarise(table, record), record)["rate"]
    assert {(gap["name"], gap["anchor"], gap["channel"]) for gap in rated} == {
        (*pair, channel) for pair in (("tracks", "ddcm"), ("ddcm", "tracks")) for channel in record.channels
    }


def test_names_are_short_and_stay_apart():
    spellings = ["tracks[bpp=0.1,protect=none]", "tracks[bpp=0.1]", "jpeg[quality=30]+fec[bch,t=7]", "jpeg[quality=30]"]
    made = names.short(spellings)
    assert list(made.values()) == ["tracks[protect=none]", "tracks", "jpeg+fec", "jpeg"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, unique=True))
def test_toml_of_a_plan_gives_the_plan(pictures):
    plan = Plan.model_construct(
        name="odd",
        pictures=tuple(pictures),
        codecs=("jpeg[quality={30,50}]",),
        channels=("bsc[ber=0]",),
        rates=(0.1, 0.25),
        trials=Trials(least=2, most=9, until_db=0.05),
    )
    assert tomllib.loads(to_toml(plan)) == {
        "name": "odd",
        "pictures": pictures,
        "codecs": ["jpeg[quality={30,50}]"],
        "channels": ["bsc[ber=0]"],
        "rates": [0.1, 0.25],
        "trials": {"least": 2, "most": 9, "until_db": 0.05},
    }


def test_the_headline_compares_the_ends_of_the_ranking(points, store):
    top = report.headline(points, store.record())
    assert top.one_in == "one bit in 100"
    assert top.best_db >= top.worst_db
    assert top.clean.codec == top.best.codec
    assert bit_error_rate(top.clean.channel) == 0
    assert top.clean_db == top.clean.all_files["psnr"].mean


def test_incomplete_means_are_marked_and_not_in_the_headline(store):
    record = store.record()
    made = report_data.with_errors(store.made, "tracks[bpp=0.1]", "photographs-00")
    points = summarise(report_data.FakeStore(record, made).table(), record)
    top = report.headline(points, record)
    assert top.best.codec == top.worst.codec == "jpeg[quality=30]"
    text = _printed(report.tables(points, record))
    line = next(line for line in text.splitlines() if line.strip().startswith("tracks"))
    assert line.count("†") == 2 * len(record.channels)
    assert "not to be compared" in text


def test_there_is_no_headline_where_an_incomplete_mean_may_be_the_best(points, store):
    record = store.record()
    best = report.headline(points, record).best.codec
    made = report_data.with_errors(store.made, best, "photographs-00")
    assert report.headline(summarise(report_data.FakeStore(record, made).table(), record), record) is None


def test_no_headline_without_random_flips():
    record = report_data.record(channels=("bsc[ber=0]",))
    points = summarise(report_data.FakeStore(record, report_data.rows(record)).table(), record)
    assert report.headline(points, record) is None


def test_the_terminal_has_a_table_for_each_data_set_and_series(store):
    record = report_data.record(
        datasets=("one", "two"), channels=(*report_data.CHANNELS, "erasure[rate=0.1]", "erasure[rate=0.2]")
    )
    points = summarise(report_data.FakeStore(record, report_data.rows(record)).table(), record)
    made = report.tables(points, record)
    assert len(made) == 2 * len(series_of(record.channels))
    text = _printed(made)
    assert "jpeg[quality=30]" in text
    assert "two, erasure" in text


def _printed(tables):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(*tables)
    return console.export_text()


def test_codecs_at_several_rates_have_a_figure_for_each():
    record = report_data.record(codecs=("tracks[bpp=0.1]", "tracks[bpp=0.2]", "jpeg[quality=30]"), metrics=("psnr",))
    made = figures.groups(record)
    assert [(group.name, [codec.spelling for codec in group.codecs]) for group in made] == [
        ("0.1bpp", ["tracks[bpp=0.1]", "jpeg[quality=30]"]),
        ("0.2bpp", ["tracks[bpp=0.2]", "jpeg[quality=30]"]),
    ]


def test_line_figures_show_the_points(store, points):
    record = store.record()
    quantity = figures.quality(record.metrics[0])
    figure = figures.lines(points, figures.groups(record)[0], series_of(record.channels)[0], quantity)
    labelled = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in labelled] == ["jpeg", "tracks"]
    expected = [point.all_files["psnr"].mean for point in points if point.codec == "jpeg[quality=30]"]
    assert list(labelled[0].get_ydata()) == pytest.approx(expected)
