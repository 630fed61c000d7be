"""The report's page in a real browser: that it works, and that nothing in it goes wrong."""

from __future__ import annotations

import pytest

import browser as browsers
import report_data
from flipproof.study.report.page import render
from flipproof.study.statistics.summary import summarise

pytestmark = pytest.mark.slow

CODECS = ("jpeg[quality=30]", "jpeg[quality=50]", "tracks[bpp=0.1]", "turbo-ddcm[bpp=0.1]")
NOISY = ("gilbert-elliott[ber=0.001,bad_ber=0.5,burst=8]", "gilbert-elliott[ber=0.001,bad_ber=0.5,burst=64]")


def _write(folder, store, name="report.html"):
    record, table = store.record(), store.table()
    path = folder / name
    path.write_text(render(store, record, table, summarise(table, record)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    with browsers.launch() as launched:
        yield launched


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two data sets, two families of channels, codecs that fail, one of every thing that can be left out."""
    record = report_data.record(
        codecs=CODECS,
        channels=(*report_data.CHANNELS, *NOISY),
        datasets=("kodak24", "photographs"),
        metrics=("psnr", "lpips-alex"),
        pictures=3,
        side=48,
        skipped=[("diffc[bpp=0.1]", "no weights; run: flipproof weights get it")],
        unreadable=[("notes.txt", "not a picture")],
    )
    rows = report_data.with_errors(report_data.rows(record), "turbo-ddcm[bpp=0.1]", "kodak24-01")
    return _write(tmp_path_factory.mktemp("report"), report_data.FakeStore(record, rows))


@pytest.fixture(scope="module")
def rates_report(tmp_path_factory):
    """Three families at three rates, on one data set."""
    codecs = [f"{name}[bpp={rate}]" for name in ("tracks", "turbo-ddcm", "ddcm") for rate in (0.1, 0.2, 0.4)]
    record = report_data.record(codecs=tuple(codecs), pictures=4, side=48, metrics=("psnr",))
    store = report_data.FakeStore(record, report_data.rows(record))
    return _write(tmp_path_factory.mktemp("rates"), store)


def dots(page, figure):
    return page.locator(f"#{figure} [data-mark=dot] > *").count()


def choose(page, key, value):
    page.locator(f"#controls select[data-key={key}]").select_option(value)


def test_all_figures_and_tables_are_drawn(browser, report):
    with browsers.opened(browser, report) as page:
        assert dots(page, "quality") == dots(page, "failures") == len(CODECS) * len(report_data.CHANNELS)
        assert dots(page, "rate") == len(CODECS)
        assert page.locator("#steps .panel").count() == 3
        assert page.locator("#steps [data-mark=rect] > *").count() > 20
        assert page.locator("#summary-table tbody tr").count() == len(CODECS)
        assert page.locator("#differences tbody tr").count() == len(CODECS) - 1
        assert page.locator("#bd-ber-table tbody tr").count() == len(CODECS) - 1
        assert page.locator("#cost-table .bar").count() == len(CODECS)
        assert page.locator("#worst tbody tr").count() > 3
        assert page.locator("#wall .tile").count() == 1 + len(CODECS) * len(report_data.CHANNELS)
        text = page.inner_text("main")
        for words in ("run: flipproof weights get it", "notes.txt", "too few bits", 'name = "made-up"', "†"):
            assert words in text


def test_pointing_and_arrow_keys_show_what_is_behind_a_point(browser, report):
    with browsers.opened(browser, report) as page:
        dot = page.locator("#quality .f2[data-mark=dot] > *").nth(2)
        dot.scroll_into_view_if_needed()
        box = dot.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        tip = page.locator("#quality .tip")
        assert "tracks" in tip.inner_text()
        assert "95 % interval" in tip.inner_text()
        assert "3 pictures, 9 files" in tip.inner_text()
        page.locator("#failures").focus()
        page.keyboard.press("ArrowRight")
        first = page.locator("#failures .tip").inner_text()
        page.keyboard.press("ArrowRight")
        assert page.locator("#failures .tip").inner_text() != first
        assert "of the files have no picture" in first
        page.keyboard.press("Escape")
        assert page.locator("#failures .tip").is_hidden()


def test_the_legend_and_the_choosers_change_figures_and_address(browser, report):
    with browsers.opened(browser, report) as page:
        page.locator("#legend .key").nth(0).click()
        assert dots(page, "quality") == (len(CODECS) - 1) * len(report_data.CHANNELS)
        choose(page, "metric", "lpips-alex")
        choose(page, "files", "decodable")
        choose(page, "data", "photographs")
        assert page.inner_text("#quality-title") == "LPIPS (Alex) of files that decode, photographs, bsc"
        assert "LPIPS (Alex)" in page.inner_text("#summary-title")
        channels = page.locator("#controls select[data-key=channels] option").nth(1).get_attribute("value")
        choose(page, "channels", channels)
        assert page.locator("#summary-table thead th").count() == 2 + 3
        address = page.url
    with browsers.opened(browser, report, f"#{address.partition('#')[2]}") as page:
        assert "LPIPS (Alex) of files that decode" in page.inner_text("#quality-title")
        assert page.locator("#legend .key[aria-pressed=false]").count() == 1
        page.get_by_role("button", name="none").click()
        assert dots(page, "quality") == 0
        assert "Nothing to show" in page.inner_text("#quality")


def test_an_address_of_nonsense_shows_the_page_as_it_is(browser, report):
    keys = ("metric", "files", "data", "channels", "rate", "at", "hide", "steps", "picture", "worst", "anchor", "theme")
    nonsense = "&".join(f"{key}=__proto__" for key in (*keys, "other"))
    for fragment in (f"#{nonsense}&view=0.4.0.decoded", "#view=9.9.9.x", "#methods", "#=&=%"):
        with browsers.opened(browser, report, fragment) as page:
            assert page.inner_text("#quality-title") == "PSNR of all files, kodak24, bsc"
            assert dots(page, "quality") == len(CODECS) * len(report_data.CHANNELS)
            assert not page.locator("#viewer").is_visible()


def test_tables_sort_by_their_headings(browser, report):
    with browsers.opened(browser, report) as page:
        heading = page.locator("#summary-table thead th").nth(5).locator("button")
        seen = []
        for _ in range(2):
            heading.click()
            texts = page.locator("#summary-table td:nth-child(6) b").all_inner_texts()
            seen.append([float(text.strip("†")) for text in texts])
        assert seen[0] == sorted(seen[0], reverse=True)
        assert seen[1] == sorted(seen[1])
        assert page.locator("#summary-table th[aria-sort=ascending]").count() == 1


def test_another_anchor_turns_the_differences(browser, report):
    with browsers.opened(browser, report) as page:

        def mean(row):
            return page.locator("#differences tbody tr").nth(row).locator("b").nth(1).inner_text()

        before = mean(0)
        page.locator("#anchor-controls select").select_option(CODECS[1])
        swap = str.maketrans("+−", "−+")  # noqa: RUF001 (a minus, as the page has it)
        assert mean(0) == before.translate(swap)


def test_families_at_several_rates_have_curves_and_bd_rates(browser, rates_report):
    with browsers.opened(browser, rates_report) as page:
        assert page.locator("#legend .key").count() == 3
        assert dots(page, "quality") == 3 * len(report_data.CHANNELS)
        assert dots(page, "rate") == 9
        assert page.locator("#rate [data-mark=line] > *").count() == 3
        assert page.locator("#bd-rate-table tbody tr").count() == 2
        assert "%" in page.inner_text("#bd-rate-table tbody")
        choose(page, "rate", "all")
        assert dots(page, "quality") == 9 * len(report_data.CHANNELS)


def test_the_viewer_zooms_flips_and_maps_differences(browser, report):
    with browsers.opened(browser, report) as page:
        page.locator("#wall tbody tr").nth(2).locator(".tile").nth(0).click()
        about = page.locator("#viewer-about")
        assert "tracks, no errors" in about.inner_text()
        page.wait_for_function("document.getElementById('viewer-image').naturalWidth === 48")
        scale = float(page.locator("#viewer-stage").get_attribute("data-scale"))
        page.keyboard.press("+")
        assert float(page.locator("#viewer-stage").get_attribute("data-scale")) == pytest.approx(1.5 * scale, rel=1e-2)
        page.keyboard.press("ArrowRight")
        assert "tracks, BER 10⁻⁴" in about.inner_text()
        with browsers.opened(browser, report, f"#{page.url.partition('#')[2]}") as other:
            assert other.locator("#viewer-about").inner_text() == about.inner_text()
        page.keyboard.press("ArrowDown")
        assert "turbo-ddcm, BER 10⁻⁴" in about.inner_text()
        assert float(page.locator("#viewer-stage").get_attribute("data-scale")) == pytest.approx(1.5 * scale, rel=1e-2)
        page.keyboard.press("o")
        assert "original" in about.inner_text()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("d")
        page.wait_for_function("document.getElementById('viewer-canvas').width === 48")
        sums = []
        for gain in ("1", "32"):
            page.locator("#viewer-slider").fill(gain)
            page.wait_for_function(f"document.getElementById('viewer-factor').textContent === '{gain}×'")  # noqa: RUF001
            sums.append(page.evaluate(_BRIGHTNESS))
        assert 0 < sums[0] < sums[1]
        page.locator("#viewer-stage").hover()
        page.mouse.wheel(0, -300)
        page.keyboard.press("Escape")
        assert not page.locator("#viewer").is_visible()
        page.wait_for_function("!location.hash.includes('view=')")


_BRIGHTNESS = """() => {
    const canvas = document.getElementById("viewer-canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.reduce((sum, value, index) => sum + (index % 4 === 3 ? 0 : value), 0);
}"""


def test_pictures_change_and_worst_files_open(browser, report):
    with browsers.opened(browser, report) as page:
        page.locator("#pictures button").nth(1).click()
        assert "kodak24-01" in page.inner_text("#wall-title")
        assert "could not be encoded" in page.inner_text("#wall")
        page.locator("#worst-controls button").nth(1).click()
        falls = [float(text) for text in page.locator("#worst tbody td:nth-child(5)").all_inner_texts() if text != "–"]  # noqa: RUF001
        assert falls == sorted(falls, reverse=True)
        page.locator("#worst .tile").first.click()
        assert "trial" in page.inner_text("#viewer-about")
        assert page.locator("#viewer-codec").is_hidden()


def test_colours_follow_the_system_and_the_switch(browser, report):
    shade = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        with browsers.opened(browser, report, color_scheme=scheme) as page:
            seen[scheme] = page.evaluate(shade)
            page.locator("#theme").click()
            seen[f"switched {scheme}"] = page.evaluate(shade)
            assert f"theme={'light' if scheme == 'dark' else 'dark'}" in page.url
    assert seen["light"] == seen["switched dark"] != seen["dark"] == seen["switched light"]


def test_printed_it_is_light_and_has_no_controls(browser, report, tmp_path):
    with browsers.opened(browser, report, color_scheme="dark") as page:
        page.pdf(path=tmp_path / "report.pdf", format="A4")
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        for selector in ("#controls", "#theme", "nav", "#pictures", "#worst-controls", ".legend-all"):
            assert page.locator(selector).first.is_hidden()
        assert page.locator("#quality svg").first.is_visible()
        assert page.evaluate("document.querySelectorAll('img[data-place]').length") == 0


def test_on_a_phone_nothing_is_wider_than_the_screen(browser, report):
    phone = {"viewport": {"width": 360, "height": 780}, "is_mobile": True, "has_touch": True}
    with browsers.opened(browser, report, **phone) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.locator("#quality .f0[data-mark=dot] > *").first.tap()
        assert "jpeg" in page.locator("#quality .tip").inner_text()
        page.locator("#wall .tile").nth(1).tap()
        assert page.locator("#viewer-stage").is_visible()


def test_hostile_names_are_text(browser, tmp_path):
    name = report_data.HOSTILE
    record = report_data.record(
        skipped=[("diffc[bpp=0.1]", name)], unreadable=[(name, name)], datasets=(name,), side=16
    )
    rows = report_data.with_errors(report_data.rows(record), record.codecs[0].spelling, record.pictures[0].name, name)
    path = _write(tmp_path, report_data.FakeStore(record, rows))
    assert path.read_text(encoding="utf-8").count(name) == 0
    with browsers.opened(browser, path) as page:
        assert page.title() == "flipproof study: made-up"
        assert page.locator("img[src=x]").count() == 0
        assert name in page.inner_text("main")


def test_a_study_of_almost_nothing_has_a_page(browser, tmp_path):
    record = report_data.record(
        codecs=("jpeg[quality=30]",), channels=("bsc[ber=0]",), pictures=1, trials=1, metrics=("psnr",)
    )
    path = _write(tmp_path, report_data.FakeStore(record, report_data.rows(record)))
    with browsers.opened(browser, path) as page:
        assert dots(page, "quality") == 1
        assert page.locator("#steps-section").is_hidden()
        assert page.locator("#differences-section").is_hidden()
        assert "without bit errors" in page.inner_text("h1")


def test_a_study_without_a_single_file_has_a_page(browser, tmp_path):
    record = report_data.record(metrics=("psnr",))
    rows = report_data.rows(record)
    for picture in record.pictures:
        for codec in record.codecs:
            rows = report_data.with_errors(rows, codec.spelling, picture.name)
    path = _write(tmp_path, report_data.FakeStore(record, rows))
    with browsers.opened(browser, path) as page:
        assert "not encoded" in page.inner_text("#summary-table")
        assert dots(page, "quality") == 0
