"""Studies: what is measured, what a rerun keeps, what the numbers mean and what the report shows."""

from __future__ import annotations

import json
import math
import sys
import zlib
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.stats import binomtest
from typer.testing import CliRunner

from flipproof import registry
from flipproof.codec.base import Codec
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import ImageError, MissingExtraError, RateError, SpecError, UnknownNameError
from flipproof.metric.psnr import psnr
from flipproof.result import Damage, DecodeResult, Status
from flipproof.study import photos, report
from flipproof.study.cli import app
from flipproof.study.plan import Plan, preset, presets
from flipproof.study.run import GRAY, codecs_of, run
from flipproof.study.store import ERROR, FAILED, Store
from flipproof.study.summary import MAX_DB, binomial_interval, bootstrap_interval, summarise

SIDE = 16
TINY = Plan(
    name="tiny",
    photographs=("hill", "noise"),
    codecs=("raw", "jpeg[quality=50]"),
    bit_error_rates=(0.0, 1e-3, 1e-2),
    trials=3,
    crop=SIDE,
    seed=7,
)


@dataclass(frozen=True)
class RawCodec(Codec):
    """Stores samples behind a checksum: comes back exactly, or not at all."""

    name: ClassVar[str] = "raw"
    calls: list[int] = field(default_factory=list)

    def __str__(self):
        return self.name

    def encode(self, image):
        self.calls.append(1)
        samples = np.asarray(image).tobytes()
        return zlib.crc32(samples).to_bytes(4, "big") + samples

    def decode_many(self, files):
        return [self._decode(data) for data in files]

    def _decode(self, data):
        if zlib.crc32(data[4:]) != int.from_bytes(data[:4], "big"):
            return DecodeResult(None, Status.FAILED, codec=self.name, error="checksum")
        image = np.frombuffer(data[4:], np.uint8).reshape(SIDE, SIDE, 3)
        return DecodeResult(image, Status.OK, Damage(repaired_bits=2), self.name)


@dataclass(frozen=True)
class WrongSizeCodec(RawCodec):
    """Decodes to a picture that is one row short."""

    def _decode(self, data):
        return DecodeResult(np.zeros((SIDE - 1, SIDE, 3), np.uint8), Status.DEGRADED, codec=self.name)


@dataclass(frozen=True)
class BrokenCodec(RawCodec):
    """Cannot encode."""

    def encode(self, image):
        self.calls.append(1)
        raise RateError("broken: 0.1 bpp is\ntoo low")


@pytest.fixture
def pictures():
    ramp = np.linspace(0, 255, 24).astype(np.uint8)
    hill = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(90)), axis=2)
    noise = np.random.default_rng(1).integers(0, 256, (20, SIDE, 3), dtype=np.uint8)
    return {"hill": np.ascontiguousarray(hill), "noise": noise}


@pytest.fixture
def codecs():
    return {"raw": RawCodec(), "jpeg[quality=50]": JpegCodec(quality=50)}


def test_presets_name_photographs_and_codecs_that_exist():
    for name in presets():
        plan = preset(name)
        assert name == "kodak" or set(plan.photographs) <= set(photos.names())
        assert list(codecs_of(plan)) == list(plan.codecs)


def test_unknown_preset_is_an_error():
    with pytest.raises(UnknownNameError, match="quick"):
        preset("slow")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a/b"},
        {"photographs": ()},
        {"codecs": ("jpeg", "jpeg")},
        {"codecs": ("jpeg[",)},
        {"bit_error_rates": ()},
        {"bit_error_rates": (0.1, 0.01)},
        {"bit_error_rates": (0.0, 1.5)},
        {"bit_error_rates": (math.nan,)},
        {"trials": 0},
        {"crop": 0},
        {"seed": -1},
    ],
)
def test_plans_out_of_range_are_errors(change):
    with pytest.raises(SpecError, match="expected"):
        replace(TINY, **change)


def test_plan_survives_json():
    assert Plan.from_config(json.loads(json.dumps(TINY.get_config()))) == TINY
    with pytest.raises(SpecError, match="attributes"):
        Plan.from_config({"name": "tiny"})


def test_there_is_one_row_per_cell_in_the_order_of_the_plan(tmp_path, pictures, codecs):
    rows = run(TINY, pictures, codecs, tmp_path)
    cells = [(0.0, 0), *[(rate, trial) for rate in (1e-3, 1e-2) for trial in range(3)]]
    expected = [(p, c, *cell) for p in TINY.photographs for c in TINY.codecs for cell in cells]
    assert [(row.photograph, row.codec, row.bit_error_rate, row.trial) for row in rows] == expected
    assert Store(tmp_path).rows() == rows


def test_rows_measure_the_whole_file(tmp_path, pictures, codecs):
    rows = run(TINY, pictures, codecs, tmp_path)
    crop = photos.centre_crop(pictures["hill"], SIDE)
    data = JpegCodec(quality=50).encode(crop)
    row = next(row for row in rows if (row.photograph, row.codec) == ("hill", "jpeg[quality=50]"))
    assert (row.file_bytes, row.flips, row.status) == (len(data), 0, "ok")
    assert row.bpp == 8 * len(data) / SIDE**2
    assert row.psnr_db == psnr(JpegCodec().decode(data).image, crop)
    raw = next(row for row in rows if row.codec == "raw")
    assert (raw.psnr_db, raw.repaired_bits, raw.file_bytes) == (math.inf, 2, 4 + 3 * SIDE**2)


def test_files_of_equal_length_meet_equal_flips(tmp_path, pictures):
    plan = replace(TINY, codecs=("a", "b"), bit_error_rates=(1e-2,))
    rows = run(plan, pictures, {"a": RawCodec(), "b": RawCodec()}, tmp_path)
    flips = {name: [row.flips for row in rows if row.codec == name] for name in plan.codecs}
    assert flips["a"] == flips["b"]
    assert len(set(flips["a"])) > 1


def test_flips_depend_on_the_seed(tmp_path, pictures, codecs):
    rows = [run(replace(TINY, seed=seed), pictures, codecs, tmp_path / str(seed)) for seed in (0, 1)]
    assert [row.flips for row in rows[0]] != [row.flips for row in rows[1]]


def test_a_rerun_does_nothing_again(tmp_path, pictures, codecs):
    first = run(TINY, pictures, codecs, tmp_path)
    assert run(TINY, pictures, codecs, tmp_path) == first
    assert len(codecs["raw"].calls) == 2


def test_a_stopped_run_goes_on_with_the_first_unfinished_group(tmp_path, pictures, codecs):
    first = run(TINY, pictures, codecs, tmp_path)
    text = (tmp_path / "rows.csv").read_text()
    (tmp_path / "rows.csv").write_text(text[: text.index("noise,raw,0.01") + 20])
    again = run(TINY, pictures, codecs, tmp_path)
    assert len(codecs["raw"].calls) == 3
    assert _but_seconds(again) == _but_seconds(first)
    assert Store(tmp_path).rows() == again


def test_another_plan_starts_afresh_and_sets_the_old_rows_aside(tmp_path, pictures, codecs):
    run(TINY, pictures, codecs, tmp_path)
    plan = replace(TINY, trials=1)
    assert len(run(plan, pictures, codecs, tmp_path)) == 2 * 2 * 3
    assert len(codecs["raw"].calls) == 4
    assert len(list(tmp_path.glob("rows.*.csv"))) == 1


def test_other_pictures_of_the_same_names_start_afresh(tmp_path, pictures, codecs):
    run(TINY, pictures, codecs, tmp_path)
    run(TINY, pictures | {"hill": pictures["noise"]}, codecs, tmp_path)
    assert len(codecs["raw"].calls) == 4


def test_a_failed_file_counts_as_mid_gray(tmp_path, pictures, codecs):
    rows = [row for row in run(TINY, pictures, codecs, tmp_path) if row.status == FAILED]
    assert any(row.codec == "raw" for row in rows)
    for row in rows:
        crop = photos.centre_crop(pictures[row.photograph], SIDE)
        assert row.psnr_db is None
        assert row.psnr_all_db == psnr(np.full_like(crop, GRAY), crop)
        assert row.error


def test_a_picture_of_another_size_counts_as_failed(tmp_path, pictures):
    plan = replace(TINY, codecs=("short",))
    rows = run(plan, pictures, {"short": WrongSizeCodec()}, tmp_path)
    assert {(row.status, row.error) for row in rows} == {(FAILED, "decoded to 16x15, expected 16x16")}


def test_a_codec_that_cannot_encode_gives_error_rows_and_is_tried_again(tmp_path, pictures):
    plan, broken = replace(TINY, codecs=("broken",)), BrokenCodec()
    rows = run(plan, pictures, {"broken": broken}, tmp_path)
    assert {(row.status, row.error) for row in rows} == {(ERROR, "broken: 0.1 bpp is too low")}
    run(plan, pictures, {"broken": broken}, tmp_path)
    assert len(broken.calls) == 4
    cell = summarise(rows, plan)[1]
    assert (cell.files, cell.errors, cell.failures, cell.psnr_all_db) == (0, 6, 0, None)


def test_progress_counts_groups_and_failures(tmp_path, pictures, codecs):
    states = []
    rows = run(TINY, pictures, codecs, tmp_path, progress=states.append)
    assert [state.done for state in states] == [0, 1, 2, 3, 4]
    assert {state.total for state in states} == {4}
    assert states[-1].failures == sum(row.status == FAILED for row in rows)


def test_a_picture_that_is_not_given_is_an_error(tmp_path, pictures, codecs):
    with pytest.raises(SpecError, match="noise"):
        run(TINY, {"hill": pictures["hill"]}, codecs, tmp_path)


def test_damaged_rows_are_an_error(tmp_path, pictures, codecs):
    run(TINY, pictures, codecs, tmp_path)
    path = tmp_path / "rows.csv"
    path.write_text(path.read_text().replace("tiny,hill,raw,0.0,0,", "tiny,hill,raw,zero,0,"))
    with pytest.raises(SpecError, match="line 2"):
        Store(tmp_path).rows()


def test_a_folder_without_a_study_is_an_error(tmp_path):
    with pytest.raises(SpecError, match=r"plan\.json"):
        report.write(tmp_path)


def test_summary_means_and_clips(tmp_path, pictures, codecs):
    rows = run(TINY, pictures, codecs, tmp_path)
    cells = {(cell.codec, cell.bit_error_rate): cell for cell in summarise(rows, TINY)}
    clean, worst = cells["raw", 0.0], cells["raw", 1e-2]
    assert (clean.psnr_db, clean.psnr_all_db, clean.files, clean.failures) == (MAX_DB, MAX_DB, 2, 0)
    kept = [row for row in rows if (row.codec, row.bit_error_rate) == ("raw", 1e-2)]
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
    assert len(lines) == 1 + len(plan.codecs) * len(plan.bit_error_rates)


def test_a_report_made_again_is_the_same(tmp_path, pictures, codecs):
    run(TINY, pictures, codecs, tmp_path)
    first = report.write(tmp_path).read_bytes()
    assert report.write(tmp_path).read_bytes() == first


def test_a_study_of_one_codec_without_errors_has_a_report(tmp_path, pictures, codecs):
    plan = replace(TINY, photographs=("hill",), codecs=("raw",), bit_error_rates=(0.0,))
    run(plan, pictures, codecs, tmp_path)
    assert "without bit errors" in report.write(tmp_path).read_text(encoding="utf-8")


def test_the_headline_compares_the_ends_of_the_ranking(tmp_path, pictures, codecs):
    cells = summarise(run(TINY, pictures, codecs, tmp_path), TINY)
    top = report.headline(cells, TINY)
    assert top.one_in == "one bit in 100"
    assert top.best.psnr_all_db >= top.worst.psnr_all_db
    assert (top.clean.codec, top.clean.bit_error_rate) == (top.best.codec, 0.0)


def test_the_table_has_a_line_per_codec(tmp_path, pictures, codecs):
    cells = summarise(run(TINY, pictures, codecs, tmp_path), TINY)
    console = Console(width=120, record=True, quiet=False, file=(tmp_path / "table").open("w"))
    with console.file:
        console.print(report.table(cells, TINY))
    text = console.export_text()
    assert "jpeg[quality=50]" in text
    assert "100.0 / 100.0" in text
    assert "100 % lost" in text


def test_a_missing_package_says_how_to_get_it(tmp_path, pictures, codecs, monkeypatch):
    run(TINY, pictures, codecs, tmp_path)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"jinja2 is not installed; run: pip install 'flipproof\[study\]'"):
        report.write(tmp_path)


@pytest.mark.parametrize("name", photos.names())
def test_photographs_are_the_pinned_ones(name):
    image = photos.load(name)
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert min(image.shape[:2]) >= preset("quick").crop


def test_an_unknown_photograph_is_an_error():
    with pytest.raises(UnknownNameError, match="chelsea"):
        photos.load("lena")


def test_a_changed_or_missing_photograph_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "_folder", lambda: tmp_path)
    with pytest.raises(ImageError, match="does not have"):
        photos.load("coffee")
    Image.new("RGB", (4, 4)).save(tmp_path / "coffee.png")
    with pytest.raises(ImageError, match="SHA-256"):
        photos.load("coffee")


def test_a_folder_gives_its_pictures_in_order(tmp_path):
    for name in ("b.png", "a.PNG", "c.jpg", "c.png"):
        Image.new("RGB", (4, 3)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert list(photos.load_folder(tmp_path)) == ["a", "b", "c.jpg", "c.png"]


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="none"):
        photos.load_folder(tmp_path)
    with pytest.raises(ImageError, match="folder"):
        photos.load_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(("shape", "expected"), [((9, 20), (8, 8)), ((5, 20), (5, 8)), ((5, 6), (5, 6))])
def test_the_crop_is_central_and_no_larger_than_the_picture(shape, expected):
    image = np.zeros((*shape, 3), np.uint8)
    image[shape[0] // 2, shape[1] // 2] = 255
    crop = photos.centre_crop(image, 8)
    assert crop.shape == (*expected, 3)
    assert crop[expected[0] // 2, expected[1] // 2, 0] == 255


def test_the_command_runs_a_study_on_a_folder(tmp_path, pictures):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name, image in pictures.items():
        Image.fromarray(image).save(data / f"{name}.png")
    arguments = ["run", "quick", "--data", str(data), "--out", str(out), "--trials", "1"]
    result = CliRunner().invoke(app, [*arguments, "--codec", "jpeg[quality=9]"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"report: {out / 'report.html'}" in result.stdout
    assert "jpeg[quality=9]" in result.stdout
    rows = Store(out).rows()
    assert {row.photograph for row in rows} == {"hill", "noise"}
    assert len(rows) == 2 * len(preset("quick").bit_error_rates)
    assert "--codec 'jpeg[quality=9]'" in Store(out).record().command


def test_a_misspelled_codec_stops_the_command_before_anything_is_written(tmp_path):
    arguments = ["run", "quick", "--out", str(tmp_path / "out"), "--codec", "jpeg", "--codec", "jpg"]
    with pytest.raises(UnknownNameError, match="jpg"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_every_codec_of_a_plan_is_built_from_its_spelling():
    assert codecs_of(replace(TINY, codecs=("jpeg[quality=5]",))) == {
        "jpeg[quality=5]": registry.codec("jpeg[quality=5]")
    }


def _but_seconds(rows):
    return [replace(row, encode_seconds=0, decode_seconds=0) for row in rows]
