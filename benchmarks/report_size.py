"""How large the page of a report is, and how long it takes to make and to load, for a study of many rows.

The rows are made up: 16 codecs, 8 channels, 90 pictures, 10 trials, and noisy pictures that are hard to compress.
Loading is timed in headless Chromium, from the start of navigation until every table and figure is drawn.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import browser
import report_data
from flipproof.study.report import page as report_page
from flipproof.study.report.payload import embed
from flipproof.study.statistics.summary import summarise

NAMES = (
    *("jpeg", "jpeg2000", "webp", "avif", "jpegxl", "bpg", "ms-illm", "stablecodec", "hyperprior", "diffc"),
    *("robust-diffc", "ddcm", "turbo-ddcm", "robust-turbo-ddcm", "hybrid-turbo-ddcm", "tracks"),
)
RATES = (0, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 1e-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=90)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--side", type=int, default=512, help="of the pictures in the gallery")
    parser.add_argument("--repeat", type=int, default=5, help="times that the page is loaded")
    parser.add_argument("--out", type=Path, help="where to keep the page")
    options = parser.parse_args()
    record = report_data.record(
        codecs=tuple(f"{name}[bpp=0.1]" for name in NAMES),
        channels=tuple(f"bsc[ber={rate:g}]" for rate in RATES),
        pictures=options.pictures,
        datasets=("made-up",),
        metrics=("psnr", "lpips-alex", "ms-ssim"),
        trials=options.trials,
        side=options.side,
    )
    store = report_data.FakeStore(record, report_data.rows(record, steps=24))
    table = store.table()
    print(f"{len(table):,} rows")
    started = time.perf_counter()
    points = summarise(table, record)
    summarised = time.perf_counter()
    html = report_page.render(store, record, table, points)
    print(f"summarise {summarised - started:.1f} s, page {time.perf_counter() - summarised:.1f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB, rows included")
    describe(html)
    with tempfile.TemporaryDirectory() as folder:
        path = (options.out or Path(folder) / "report.html").resolve()
        path.write_text(html, encoding="utf-8")
        times = sorted(loaded(path) for _ in range(options.repeat))
    print(
        f"drawn after {times[len(times) // 2]:.2f} s (median of {len(times)}, from {times[0]:.2f} to {times[-1]:.2f})"
    )


def describe(html: str) -> None:
    """Prints what the page is made of, in MB of 10^6 bytes."""
    block = html.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    images = len(embed(json.loads(block)["images"]))
    vendor = files("flipproof.study.report") / "assets" / "vendor"
    libraries = sum(len(file.read_bytes()) for file in vendor.iterdir() if file.name.endswith(".js"))
    parts = {"page": len(html.encode()), "pictures": images, "numbers": len(block.encode()) - images}
    print(", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in (parts | {"libraries": libraries}).items()))


def loaded(path: Path) -> float:
    """Returns the seconds from the start of navigation until the page says that everything is drawn."""
    with browser.launch() as chromium, browser.opened(chromium, path) as page:
        return float(page.evaluate("document.documentElement.dataset.ready")) / 1000


if __name__ == "__main__":
    main()
