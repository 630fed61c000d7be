from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import fields, replace
from functools import cache

import pytest

import tables
from flipproof.errors import StoreError, UnknownNameError
from flipproof.study.export import FORMATS, export
from flipproof.study.export.latex import escape
from flipproof.study.export.name import file_name
from flipproof.study.statistics.summary import summarise
from flipproof.study.store.row import Row

STUDY = tables.record(
    codecs=("jpeg[bpp=0.5]", "bpg[bpp=0.5]", "jpeg[bpp=1.0]", "jpeg[bpp=0.5,restart=8]"),
    channels=("bsc[ber=0]", "bsc[ber=0.001]", "awgn[snr=2,soft=true]", "awgn[snr=4,soft=true]"),
    pictures=[f"p{place}" for place in range(8)],
    metrics=("psnr", "ms-ssim", "lpips-alex"),
    trials=3,
)
NOISY = "bsc[ber=0.001]"


def score(picture, codec, channel, trial):
    """BPG loses a file in three on one channel; JPEG at 1.0 bpp has an error there."""
    if channel == NOISY and codec.name == "bpg" and trial == 1:
        return tables.failed(9.0, lpips_alex=0.9, ms_ssim=0.1)
    if channel == NOISY and codec.spelling == "jpeg[bpp=1.0]" and picture.name == "p3":
        return tables.error()
    return tables.varied(picture, codec, channel, trial)


ROWS = tables.rows(STUDY, score)
TABLE = tables.table(STUDY, ROWS)
POINTS = {(p.codec, p.channel): p for p in summarise(TABLE, STUDY)}


@cache
def of_the_study(layout):
    return FORMATS[layout](TABLE, STUDY)


def texts(layout, table=None, study=STUDY):
    return dict(of_the_study(layout)) if table is None else FORMATS[layout](table, study)


@pytest.mark.parametrize("layout", FORMATS)
def test_every_format_writes_its_files(layout, tmp_path):
    paths = export(layout, TABLE, STUDY, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == list(texts(layout))
    assert all(path.read_text(encoding="utf-8") for path in paths)
    assert export(layout, TABLE, STUDY, tmp_path / "new" / "folder") == paths


@pytest.mark.parametrize("layout", FORMATS)
def test_every_format_takes_a_study_without_rows(layout):
    for text in texts(layout, TABLE.slice(0, 0)).values():
        assert text


def test_formats_and_folders_that_are_none_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown format 'excel'; known: csv, compressai, codec-compare, latex"):
        export("excel", TABLE, STUDY, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        export("csv", TABLE, STUDY, tmp_path / "file")


def test_csv_has_every_row_and_every_point():
    made = texts("csv")
    rows = list(csv.DictReader(made["rows.csv"].splitlines()))
    assert len(rows) == len(ROWS)
    assert set(rows[0]) >= {item.name for item in fields(Row)} - {"scores"}
    for line, row in zip(rows, ROWS, strict=True):
        assert (line["key"], line["status"]) == (row.key, row.status)
        value = row.scores["psnr"].value if row.scores else None
        assert line["psnr"] == ("" if value is None else str(value))
    points = list(csv.DictReader(made["points.csv"].splitlines()))
    assert len(points) == len(POINTS)
    assert float(points[0]["psnr_all"]) == next(iter(POINTS.values())).all_files["psnr"].mean


def test_csv_writes_infinity_and_lists():
    study = tables.record(pictures=("a",), codecs=("jpeg",), channels=("bsc[ber=0]",))
    rows = [replace(row, steps=((8, 0, 1, 0),)) for row in tables.rows(study, lambda *_: tables.good(math.inf))]
    line = next(csv.DictReader(texts("csv", tables.table(study, rows), study)["rows.csv"].splitlines()))
    assert (line["psnr"], json.loads(line["steps"])) == ("inf", [[8, 0, 1, 0]])


def test_compressai_files_are_what_its_plot_reads():
    """Its parser wants results.bpp and the metric as lists of one length; the label is the name."""
    made = {name: json.loads(text) for name, text in texts("compressai").items()}
    assert len(made) == 12
    for curve in made.values():
        assert list(curve) == ["name", "description", "results", "meta"]
        lengths = {len(values) for values in curve["results"].values()}
        assert len(lengths) == 1
        assert all(isinstance(value, float) for values in curve["results"].values() for value in values)
        assert curve["results"]["bpp"] == sorted(curve["results"]["bpp"])
    assert len({curve["name"] for curve in made.values()}) == 12
    clean = made["photos_jpeg_bsc-ber=0.json"]
    assert clean["name"] == "jpeg"
    assert list(clean["results"]) == ["bpp", "psnr-rgb", "ms-ssim-rgb", "lpips-alex", "encoding_time", "decoding_time"]
    for place, codec in enumerate(("jpeg[bpp=0.5]", "jpeg[bpp=1.0]")):
        assert clean["results"]["psnr-rgb"][place] == POINTS[codec, "bsc[ber=0]"].all_files["psnr"].mean


def test_compressai_leaves_incomplete_points_out_and_says_so():
    made = {name: json.loads(text) for name, text in texts("compressai").items()}
    curve = made["photos_jpeg_bsc-ber=0.001.json"]
    assert curve["meta"]["codecs"] == ["jpeg[bpp=0.5]"]
    left_out = {"codec": "jpeg[bpp=1.0]", "pictures": 7, "expected_pictures": 8, "files": 21, "errors": 3}
    assert curve["meta"]["left_out"] == [left_out]
    lost = made["photos_bpg_bsc-ber=0.001.json"]
    assert lost["meta"]["failures"] == [8]
    assert lost["results"]["psnr-rgb"] == [POINTS["bpg[bpp=0.5]", NOISY].all_files["psnr"].mean]


def test_compressai_leaves_out_metrics_that_not_all_points_have():
    study = tables.record(metrics=("psnr", "lpips-alex"), codecs=("jpeg[bpp=0.5]", "jpeg[bpp=1.0]"))
    rows = tables.rows(study, lambda p, c, *_: tables.good(30.0, **({"lpips_alex": 0.1} if c.asked_bpp == 1 else {})))
    curve = json.loads(next(iter(texts("compressai", tables.table(study, rows), study).values())))
    assert "lpips-alex" not in curve["results"]
    assert curve["meta"]["metrics_left_out"] == ["lpips-alex"]


def load_batch(text):
    """Reads a batch by the rules of Codec-Compare's loader."""
    batch = json.loads(text)
    for kind in ("constant", "field"):
        descriptions = batch[f"{kind}_descriptions"]
        assert all(len(each) == 1 and isinstance(*each.values(), str) for each in descriptions)
    constants = dict(
        zip((key for each in batch["constant_descriptions"] for key in each), batch["constant_values"], strict=True)
    )
    assert all(isinstance(value, str) for value in constants.values())
    names = [key for each in batch["field_descriptions"] for key in each]
    rows = [dict(zip(names, row, strict=True)) for row in batch["field_values"]]
    for name in names:
        assert len({isinstance(row[name], str) for row in rows}) == 1
        assert not any(row[name] is None for row in rows)
    return constants, rows


def test_codec_compare_batches_are_what_its_page_loads():
    made = texts("codec-compare")
    listed = json.loads(made.pop("batches.json"))
    assert [name for (name,) in listed] == list(made)
    assert len(made) == 12
    for text in made.values():
        constants, rows = load_batch(text)
        assert {"name", "codec", "version", "time", "source_data_set"} <= set(constants)
        known = {"original_name", "encoded_size", "bpp", "encoding_time", "decoding_time", "psnr", "msssim", "lpips"}
        assert known <= set(rows[0])
        assert all(row["bpp"] == pytest.approx(8 * row["encoded_size"] / 512**2, rel=1e-4) for row in rows)


def test_codec_compare_counts_what_it_leaves_out_and_marks_lost_files():
    made = texts("codec-compare")
    constants, rows = load_batch(made["photos_jpeg_bsc-ber=0.001.json"])
    assert (constants["left_out"], constants["failed_files"], len(rows)) == ("3", "0", 45)
    constants, rows = load_batch(made["photos_bpg_bsc-ber=0.001.json"])
    assert (constants["left_out"], constants["failed_files"], len(rows)) == ("0", "8", 24)
    assert {row["psnr"] for row in rows if row["status"] == "failed"} == {9.0}


def test_codec_compare_has_no_batch_of_errors_alone_and_no_infinity():
    study = tables.record(channels=("bsc[ber=0]",))
    rows = tables.rows(study, lambda p, c, *_: tables.error() if c.name == "bpg" else tables.good(math.inf))
    made = texts("codec-compare", tables.table(study, rows), study)
    assert list(made) == ["photos_jpeg_bsc-ber=0.json", "batches.json"]
    assert {row["psnr"] for row in load_batch(made["photos_jpeg_bsc-ber=0.json"])[1]} == {100.0}


def check_latex(text):
    """Environments and braces are balanced, and every row has as many cells as the table columns."""
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    bare = re.sub(r"\\[\\{}%&$#_]", "", text)
    depth = 0
    for letter in bare:
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert text.isascii()
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, flags=re.S):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        assert all(line.count(" & ") == len(columns) - 1 for line in rows)


def test_latex_tables_are_well_formed():
    made = texts("latex")
    document = made.pop("study.tex")
    assert re.findall(r"\\input\{(.*)\}", document) == list(made)
    check_latex(document)
    assert len(made) == 8
    labels = [label for text in made.values() for label in re.findall(r"\\label\{(.*)\}", text)]
    assert len(set(labels)) == len(labels) == 8
    for text in made.values():
        check_latex(text)


def test_latex_cells_have_mean_and_interval():
    estimate = POINTS["jpeg[bpp=0.5]", "bsc[ber=0]"].all_files["psnr"]
    cell = rf"${estimate.mean:.2f}^{{+{estimate.high - estimate.mean:.2f}}}_{{-{estimate.mean - estimate.low:.2f}}}$"
    table = texts("latex")["photos_bsc_psnr.tex"]
    assert cell in table
    assert r"BER 10\textsuperscript{-3}" in table
    assert r"jpeg[bpp=0.5] & 0.500 & " in table
    lost = texts("latex")["photos_bsc_lost.tex"]
    assert "33.3 [15.6, 55.3]" in lost


def test_latex_marks_means_over_other_files_than_the_plans():
    table = texts("latex")["photos_bsc_psnr.tex"]
    marked = [line for line in table.splitlines() if r"\textsuperscript{*}" in line]
    assert [line.split(" & ")[0] for line in marked] == ["jpeg[bpp=1.0]"]
    assert "$^*$: not over every picture" in table
    assert r"\textsuperscript{*}" not in texts("latex")["photos_awgn-soft=true_psnr.tex"]


def best_of(score, metrics=("psnr",), codecs=("jpeg[bpp=0.5]", "bpg[bpp=0.5]")):
    study = tables.record(codecs=codecs, channels=("bsc[ber=0]",), metrics=metrics, pictures=list("abcdef"))
    made = texts("latex", tables.table(study, tables.rows(study, score)), study)
    lines = made[f"photos_bsc_{metrics[-1]}.tex"].splitlines()
    return [line.split(" & ")[0] for line in lines if r"\mathbf" in line]


def level(picture, codec):
    return 30 + ord(picture.name) % 7 + (codec.name == "jpeg") * (0.2 + 0.01 * (ord(picture.name) % 3))


def test_latex_sets_in_bold_only_what_is_decided():
    assert best_of(lambda p, c, *_: tables.good(level(p, c))) == ["jpeg[bpp=0.5]"]
    assert best_of(lambda p, c, *_: tables.good(30.0)) == []
    turns = {"a": 1, "b": -1, "c": 1, "d": -1, "e": 1, "f": -0.5}
    assert best_of(lambda p, c, *_: tables.good(30 + turns[p.name] * (c.name == "jpeg"))) == []


def test_latex_bold_is_for_the_lower_where_that_is_better():
    scores = lambda p, c, *_: tables.good(30.0, lpips_alex=level(p, c) / 100)  # noqa: E731
    assert best_of(scores, ("psnr", "lpips-alex")) == ["bpg[bpp=0.5]"]


def test_latex_compares_codecs_of_one_rate():
    codecs = ("jpeg[bpp=0.5]", "bpg[bpp=1.0]")
    assert best_of(lambda p, c, *_: tables.good(level(p, c)), codecs=codecs) == []
    codecs = ("jpeg[bpp=0.5]", "bpg[bpp=0.5]", "jpeg[bpp=0.5,restart=8]")
    assert best_of(lambda p, c, *_: tables.good(level(p, c)), codecs=codecs) == []


def test_latex_never_sets_an_incomplete_mean_in_bold():
    def lost(picture, codec, *_):
        return tables.error() if (picture.name, codec.name) == ("a", "jpeg") else tables.good(level(picture, codec))

    assert best_of(lost) == []


def test_text_is_shown_as_it_is():
    assert escape(r"a_b & 50 % {x} #1 $y ~ ^ \z") == (
        r"a\_b \& 50 \% \{x\} \#1 \$y \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )
    assert escape("3·10⁻²") == r"3\textperiodcentered{}10\textsuperscript{-2}"


def test_file_names_are_unique_and_plain():
    assert file_name(("a b", "../x", ""), ".json") == "a-b_x.json"
    assert file_name(("a",), ".json", {"a.json", "a_2.json"}) == "a_3.json"
    assert len(file_name(("a" * 500,), ".tex")) < 200
