from __future__ import annotations

from dataclasses import replace

import pytest

import tables
from flipproof.study.statistics.published import Published, beside, published, unfilled
from flipproof.study.statistics.summary import summarise

CODECS = (
    "jpeg[bpp=1.0]",
    "ms-illm[bpp=0.07]",
    "ddcm[prior=diffusers:owner/model,bpp=0.1]",
    "turbo-ddcm[prior=small,bpp=0.1]",
)
CHANNELS = ("bsc[ber=0]", "bsc[ber=0.001]", "bsc[ber=0.01]")
KODAK = [f"kodim{number:02}" for number in range(1, 25)]


def compared(score=None, **options):
    settings = {"codecs": CODECS, "channels": CHANNELS, "datasets": ("kodak24",), "pictures": KODAK, "trials": 10}
    study = tables.record(**(settings | {"metrics": ("psnr", "lpips-alex")} | options))
    points = summarise(tables.table(study, tables.rows(study, score)), study)
    return {(c.published.codec, c.published.dataset, c.published.bit_error_rate): c for c in beside(points, study)}


def test_every_value_has_its_source_and_is_in_range():
    cells = published()
    assert len({(cell.codec, cell.dataset, cell.bit_error_rate) for cell in cells}) == len(cells) == 41
    for cell in cells:
        assert cell.source.startswith("results/")
        assert bool(cell.rate_source) == (cell.bpp is not None)
        assert 5 < cell.psnr < 40
        assert 0 < cell.lpips < 1
        assert 0 < cell.psnr_spread < 6
        files = cell.pictures * cell.trials
        assert cell.failed * files == pytest.approx(round(cell.failed * files), abs=0.06)
    assert {cell.codec for cell in cells if cell.dataset == "kodak24" and not cell.bit_error_rate} == {
        *("jpeg", "bpg", "ms-illm", "stablecodec", "diffc", "ddcm", "turbo-ddcm", "robust-turbo-ddcm")
    }


def test_the_headline_values_are_those_of_the_tables():
    cells = {(cell.codec, cell.dataset, cell.bit_error_rate): cell for cell in published()}
    robust = cells["robust-turbo-ddcm", "kodak24", 1e-3]
    assert (robust.psnr, robust.lpips, robust.failed, robust.bpp) == (22.57, 0.2011, 0.0, 0.1003)
    assert robust.source == "results/plots/table_Kodak24_BER_1e-3.csv"
    illm = cells["ms-illm", "kodak24", 1e-3]
    assert (illm.psnr, illm.failed) == (10.12, 0.6167)
    assert cells["robust-turbo-ddcm", "div2k-valid", 1e-4].psnr == 22.03
    assert cells["jpeg", "div2k-valid", 1e-4].bpp is None


def test_a_measured_cell_is_the_mean_over_decodable_files():
    def score(picture, codec, channel, trial):
        return tables.failed(9.0, lpips_alex=0.9) if trial == 1 else tables.good(12.0, lpips_alex=0.5)

    cell = compared(score)["jpeg", "kodak24", 1e-3]
    assert (cell.reason, cell.marks) == ("", ())
    assert (cell.psnr.mean, cell.lpips.mean) == (12.0, 0.5)
    assert cell.measured.failure_rate == pytest.approx(0.1)


def test_a_run_on_fewer_and_other_pictures_is_marked():
    cells = compared(pictures=KODAK[:2], trials=2, side=256, codecs=("jpeg[bpp=0.95]",))
    assert cells["jpeg", "kodak24", 1e-3].marks == (
        "2 pictures in place of 24",
        "2 trials in place of 10",
        "pictures of 256x256 in place of 512x512",
        "0.95 bpp in place of 0.997",
    )
    assert cells["jpeg", "kodak24", 0.0].marks[1].startswith("pictures of")


def test_errors_are_marked():
    lost = compared(lambda p, c, ch, t: tables.error() if (p.name, t) == (KODAK[0], 0) else tables.good(30.0))
    assert "1 cell ended in an error" in lost["jpeg", "kodak24", 1e-3].marks


def test_the_shipped_prior_is_never_the_published_codec():
    cells = compared()
    turbo = cells["turbo-ddcm", "kodak24", 1e-3]
    assert (turbo.measured, turbo.psnr, turbo.lpips) == (None, None, None)
    assert turbo.shipped_prior.codec == "turbo-ddcm[prior=small,bpp=0.1]"
    assert turbo.reason == "only measured on the shipped prior, which is not the published codec"
    true = cells["ddcm", "kodak24", 1e-3]
    assert (true.measured.codec, true.shipped_prior) == ("ddcm[prior=diffusers:owner/model,bpp=0.1]", None)
    both = (*CODECS, "ddcm[prior=small,bpp=0.1]")
    beside_it = compared(codecs=both)["ddcm", "kodak24", 1e-3]
    assert beside_it.measured.codec == "ddcm[prior=diffusers:owner/model,bpp=0.1]"
    assert beside_it.shipped_prior.codec == "ddcm[prior=small,bpp=0.1]"


def test_a_skipped_codec_gives_its_reason_beside_what_the_shipped_prior_does():
    skipped = {"ddcm[prior=diffusers:owner/model,bpp=0.1]": "no weights; get them", "ms-illm[bpp=0.07]": "no file"}
    cells = compared(codecs=(*CODECS, "ddcm[prior=small,bpp=0.1]"), skipped=skipped)
    assert cells["ms-illm", "kodak24", 0.0].reason == "no file"
    ddcm = cells["ddcm", "kodak24", 1e-3]
    assert (ddcm.reason, ddcm.measured) == ("no weights; get them", None)
    assert ddcm.shipped_prior.codec == "ddcm[prior=small,bpp=0.1]"


@pytest.mark.parametrize(
    ("options", "score", "place", "reason"),
    [
        ({}, None, ("jpeg", "div2k-valid", 1e-3), "div2k-valid is not in this run"),
        ({}, None, ("bpg", "kodak24", 1e-3), "not among the codecs of this run"),
        ({}, None, ("jpeg", "kodak24", 1e-4), "this bit error rate is not in this run"),
        ({}, lambda *_: None, ("jpeg", "kodak24", 1e-3), "not measured yet"),
        ({}, lambda *_: tables.error(), ("jpeg", "kodak24", 1e-3), "every cell of it ended in an error (240)"),
        ({}, lambda *_: tables.failed(), ("jpeg", "kodak24", 1e-3), "none of its 240 files gives a picture"),
        (
            {"codecs": ("jpeg[bpp=0.5]", "jpeg[bpp=0.25]")},
            None,
            ("jpeg", "kodak24", 1e-3),
            "measured at 0.5 bpp, published at 0.997",
        ),
    ],
)
def test_a_cell_without_a_value_says_why(options, score, place, reason):
    cell = compared(score, **options)[place]
    assert (cell.reason, cell.measured, cell.marks) == (reason, None, ())


def test_of_several_rates_the_nearest_is_beside():
    cells = compared(codecs=("jpeg[bpp=0.25]", "jpeg[bpp=0.9]", "jpeg[bpp=4.0]", "jpeg+fec[bch]"))
    assert cells["jpeg", "kodak24", 0.0].measured.codec == "jpeg[bpp=0.9]"


def test_div2k_has_cells_of_its_own():
    names = [f"{number:04}" for number in range(801, 901)]
    cells = compared(datasets=("div2k-valid",), pictures=names, codecs=("jpeg[bpp=1.0]",), trials=10)
    assert cells["jpeg", "div2k-valid", 1e-3].marks == ()
    assert cells["jpeg", "kodak24", 1e-3].reason == "kodak24 is not in this run"


def test_what_could_not_be_filled_is_told_in_a_few_lines():
    cells = compared(skipped={"ms-illm[bpp=0.07]": "no weights; get them"})
    groups = unfilled(cells.values())
    assert sum(group.cells for group in groups) == sum(bool(cell.reason) for cell in cells.values())
    lines = {str(group) for group in groups}
    assert "16 cells, all codecs on div2k-valid at BER 10⁻⁴, 10⁻³: div2k-valid is not in this run" in lines
    assert "3 cells, ms-illm on kodak24 at BER 0, 10⁻⁴, 10⁻³: no weights; get them" in lines
    assert len(lines) == 5
    assert [group.cells for group in groups] == sorted((group.cells for group in groups), reverse=True)
    alone = [replace(cells["jpeg", "kodak24", 1e-4])]
    assert str(unfilled(alone)[0]) == "1 cell, jpeg on kodak24 at BER 10⁻⁴: this bit error rate is not in this run"
    assert isinstance(alone[0].published, Published)
    assert unfilled([]) == []
