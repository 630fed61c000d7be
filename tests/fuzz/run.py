"""Runs fuzz targets under atheris, which follows the coverage of flipproof's code (``pip install flipproof[fuzz]``).

    python tests/fuzz/run.py --seconds 300 --target all
    python tests/fuzz/run.py --target header --reproduce out/fuzz/header/crash-0123abcd

Inputs that reach new code are kept in ``out/fuzz/NAME/corpus`` and where the next run starts. An input that a target
fails on, or that takes too long or too much memory, is left in ``out/fuzz/NAME``; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
NAMES = ("container", "sealed", "header", "files", "received", "wrapped", "protocols", "zipf", "codes", "spellings")
SECONDS_PER_INPUT = 60
MEBIBYTES = 3072
LONGEST_INPUT = 2048


def main() -> int:
    """Runs what the command line asks for, one target after the other; returns the exit status."""
    options = _options()
    names = NAMES if options.target == "all" else (options.target,)
    if options.reproduce:
        return _reproduce(options.target, options.reproduce)
    if options.child:
        _fuzz(options.target, options.out / options.target, options.seconds)
    status = 0
    for name in names:
        found = _watch(name, options.out, options.seconds)
        print(found, flush=True)
        status |= "finding" in found
    return status


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", choices=[*NAMES, "all"], default="all")
    parser.add_argument("--seconds", type=int, default=60, help="time for each target")
    parser.add_argument("--out", type=Path, default=TESTS.parent / "out" / "fuzz", help="folder of inputs and findings")
    parser.add_argument("--reproduce", type=Path, help="run one input and let its error through")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reproduce and options.target == "all":
        parser.error("--reproduce needs --target")
    return options


def _watch(name: str, out: Path, seconds: int) -> str:
    """Fuzzes a target in a process of its own, which ends at the first finding; returns one line on it."""
    folder = out / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    before = _findings(folder)
    command = [sys.executable, __file__, "--child", "--target", name, "--seconds", str(seconds), "--out", str(out)]
    with (folder / "log").open("w") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    text = (folder / "log").read_text(errors="replace")
    executions = max(
        map(int, re.findall(r"^(?:#|stat::number_of_executed_units: )(\d+)", text, re.MULTILINE)), default=0
    )
    coverage = (re.findall(r" cov: (\d+)", text) or ["0"])[-1]
    line = f"{name}: {executions} executions, coverage {coverage}, corpus {len(list((folder / 'corpus').iterdir()))}"
    found = sorted(_findings(folder) - before)
    if found or status:
        line += f", finding(s): {', '.join(map(str, found)) or f'exit status {status}'}, see {folder / 'log'}"
    return line


def _findings(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-", "leak-"))}


def _fuzz(name: str, folder: Path, seconds: int) -> None:
    """Fuzzes until the time is over; does not return."""
    import atheris

    sys.path.insert(0, str(TESTS))
    with atheris.instrument_imports(include=["flipproof", "fuzz"]):
        from fuzz.targets import TARGETS

        target = TARGETS[name]
        for seed in target.seeds():
            (folder / "corpus" / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
            target.run(seed)  # so that what is imported late is followed too
    arguments = [
        f"-max_total_time={seconds}",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MEBIBYTES}",
        f"-max_len={LONGEST_INPUT}",
        f"-artifact_prefix={folder}{os.sep}",
        "-print_final_stats=1",
        str(folder / "corpus"),
    ]
    atheris.Setup([sys.argv[0], *arguments], target.run)
    atheris.Fuzz()


def _reproduce(name: str, path: Path) -> int:
    sys.path.insert(0, str(TESTS))
    from fuzz.targets import TARGETS

    TARGETS[name].run(path.read_bytes())
    print(f"{name} is fine with {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
