r"""How much of a residual a bit buys, for every way of choosing and writing atoms.

A residual r of n = 16384 independent unit-variance normal samples meets the codebook of a step. The steering noise z of
a selection captures the energy <z, r>^2 / |z|^2. No code can capture more than 2 ln 2 per bit in the limit of many
samples and few bits, so the efficiency of a step is captured energy / (2 ln 2 * bits), averaged over random residuals.
Bits are those of the package's protocols. "fractional tracks" splits all K = n atoms into M tracks of K / M atoms, an
index costing log2(K / M) bits: a limit, not a format. DDCM has K = 8192 and C = 3; DiffC simulates a channel of the KL
in the column M. The expected values are those the design was based on, themselves averages over a few residuals; a
single residual scatters by 0.04 at M = 10. The script fails if a difference exceeds the margin.

A second table has the trellis, whose bits are not few: the share of the rate-distortion bound n (1 - 2^(-2T/n)) that T
bits capture, for windows of several widths and several numbers of samples to a bit.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flipproof.codebook.base import Codebook
from flipproof.codebook.make import KINDS, make_codebook
from flipproof.codec.diffc_draft import channel_step, zipf_cost
from flipproof.protocol.hybrid import HybridProtocol
from flipproof.protocol.independent import IndependentProtocol
from flipproof.protocol.lexicographic import LexicographicProtocol
from flipproof.protocol.pursuit import PursuitProtocol
from flipproof.protocol.tracks import TracksProtocol
from flipproof.protocol.trellis import TrellisProtocol
from flipproof.schedule import Level
from flipproof.seeds import generator
from flipproof.selection.base import Steering
from flipproof.selection.diffc import select_diffc
from flipproof.selection.pursuit import select_pursuit
from flipproof.selection.tracks import select_tracks, track_bits
from flipproof.selection.trellis import select_trellis
from flipproof.selection.turbo import select_turbo

ATOMS = 16384
COUNTS = (10, 30, 100, 300)
PURSUIT_ATOMS, PURSUIT_BITS, PURSUIT_COUNTS = 8192, 3, (1, 2, 8)
KL_CODES = (53, 67, 80)
"""About 100, 330 and 1024 bits, in eighth octaves."""
WINDOWS = (6, 8, 10, 12)
SAMPLES_PER_BIT = (3, 8, 32, 100)
EXPECTED = {
    "rank": ((129, 0.758), (343, 0.718), (975, 0.684), (2455, 0.643)),
    "independent": ((150, 0.652), (450, 0.548), (1500, 0.445), (4500, 0.351)),
    "fractional tracks": ((117, 0.792), (303, 0.755), (836, 0.730), (2031, 0.686)),
}


@dataclass(frozen=True)
class Line:
    """One row of the table: a kind of selection with its bits and efficiency, and what was expected of them."""

    count: int
    kind: str
    bits: float
    efficiency: float
    expected: tuple[int, float] | None

    def __str__(self) -> str:
        cells = [str(self.count), self.kind, f"{self.bits:.0f}", f"{self.efficiency:.3f}"]
        if self.expected:
            bits, efficiency = self.expected
            cells += [f"{bits} / {efficiency:.3f}", f"{self.bits - bits:+.1f} / {self.efficiency - efficiency:+.3f}"]
        return "| " + " | ".join(cells + ["–"] * (6 - len(cells))) + " |"  # noqa: RUF001 (a dash, as tables have it)

    def misses(self, margin: float) -> bool:
        """Whether bits or efficiency are further from the expected ones than rounding and the margin explain."""
        if self.expected is None:
            return False
        return abs(self.bits - self.expected[0]) > 0.5 or abs(self.efficiency - self.expected[1]) > margin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--residuals", type=int, default=1000, help="random residuals to average over (1000)")
    parser.add_argument("--margin", type=float, default=0.02, help="largest difference in efficiency (0.02)")
    parser.add_argument("--codebook", choices=KINDS, default=KINDS[0], help=f"kind of codebook ({KINDS[0]})")
    parser.add_argument("--part", choices=("atoms", "trellis"), help="one table only")
    options = parser.parse_args()
    missed = 0 if options.part == "trellis" else atoms(options)
    if options.part != "atoms":
        trellises(max(1, options.residuals // 50))
    sys.exit(1 if missed else 0)


def atoms(options: argparse.Namespace) -> int:
    """Prints the table of selections of atoms; returns the number of rows that are not as expected."""
    lines = [line for index in range(len(COUNTS)) for line in measure(index, options.residuals, options.codebook)]
    lines += [pursuit(count, options.residuals, options.codebook) for count in PURSUIT_COUNTS]
    lines += [line for code in KL_CODES for line in channel(code, options.residuals, options.codebook)]
    print("| M | selection | bits | efficiency | expected | difference |")
    print("|---|---|---|---|---|---|")
    print("\n".join(map(str, lines)))
    missed = sum(line.misses(options.margin) for line in lines)
    print(f"\n{options.residuals} residuals; {missed} rows differ by more than {options.margin:g}.")
    return missed


def trellises(residuals: int) -> None:
    """Prints the table of the trellis, averaged over random residuals."""
    print("\n| samples per bit | " + " | ".join(f"window {window}" for window in WINDOWS) + " |")
    print("|---" * (len(WINDOWS) + 1) + "|")
    for ratio in SAMPLES_PER_BIT:
        shares = [trellis(ATOMS // ratio, window, residuals) for window in WINDOWS]
        print(f"| {ratio} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)
    print(f"\n{residuals} residuals.")


def trellis(bits: int, window: int, residuals: int) -> float:
    """Returns the captured share of the bound."""
    protocol, energy = TrellisProtocol(ATOMS, bits, window), 0.0
    for trial in range(residuals):
        codebook, residual = make_codebook("rotated", ATOMS, ATOMS, trial), residual_of(trial)
        found = select_trellis(codebook.analyse(residual)[0], protocol.blocks)
        energy += captured(codebook, protocol.read(found[None], np.ones(bits, np.bool_)), residual)
    return energy / residuals / (ATOMS * (1 - 4 ** (-bits / ATOMS)))


def measure(index: int, residuals: int, kind: str) -> list[Line]:
    """Returns the rows of one number of atoms, with energies averaged over random residuals."""
    count = COUNTS[index]
    width = track_bits(ATOMS, count, 15)
    totals = torch.zeros(3)
    for trial in range(residuals):
        totals += energies(make_codebook(kind, ATOMS, ATOMS, trial), residual_of(trial), count, width)
    turbo, tracks, fractional = (totals / residuals).tolist()
    found = {
        "rank": (LexicographicProtocol(ATOMS, count).bits, turbo),
        "independent": (IndependentProtocol(ATOMS, count).bits, turbo),
        "hybrid, 10 alone": (HybridProtocol(ATOMS, count, 10).bits, turbo),
        f"tracks of {1 << width}": (TracksProtocol(count, width).bits, tracks),
        "fractional tracks": (count * (math.log2(ATOMS / count) + 1), fractional),
    }
    return [
        Line(count, name, bits, energy / (2 * math.log(2) * bits), EXPECTED[name][index] if name in EXPECTED else None)
        for name, (bits, energy) in found.items()
    ]


def pursuit(count: int, residuals: int, kind: str) -> Line:
    """Returns the row of DDCM's matching pursuit."""
    total = 0.0
    for trial in range(residuals):
        codebook, residual = make_codebook(kind, ATOMS, PURSUIT_ATOMS, trial), residual_of(trial)
        total += captured(codebook, select_pursuit(codebook, residual, count, PURSUIT_BITS), residual)
    bits = PursuitProtocol(PURSUIT_ATOMS, count, PURSUIT_BITS).bits
    return Line(count, "matching pursuit", bits, total / residuals / (2 * math.log(2) * bits), None)


def channel(code: int, residuals: int, kind: str) -> list[Line]:
    """Returns the rows of DiffC's simulated channel, its seeds entropy-coded and at fixed length."""
    energy, coded, trials = 0.0, 0.0, max(1, residuals // 10)
    kl = round(math.exp2(code / 8))
    for trial in range(trials):
        step = channel_step(Level(1, 1.0), code, 16, trial, ATOMS)
        codebook = make_codebook(kind, -(-ATOMS // step.protocol.parts), step.protocol.atoms, trial)
        residual = residual_of(trial)
        mean = residual * float((2 * math.log(2) * kl / residual.square().sum()).sqrt())
        seeds = select_diffc(codebook, mean, trial, step.protocol.parts)
        energy += captured(codebook, seeds, residual) / trials
        coded += zipf_cost(step, step.protocol.write(seeds)) / trials
    found = {"simulated channel, Zipf": coded, "simulated channel, fixed": float(step.bits)}
    return [Line(kl, name, bits, energy / (2 * math.log(2) * bits), None) for name, bits in found.items()]


def residual_of(trial: int) -> Tensor:
    """Returns a random residual (1, n)."""
    rng = generator(purpose="selection efficiency", trial=trial)
    return torch.from_numpy(rng.standard_normal((1, ATOMS))).float()


def energies(codebook: Codebook, residual: Tensor, count: int, width: int) -> Tensor:
    """Returns the energies that the largest atoms, tracks and fractional tracks capture, with shape (3,)."""
    products = codebook.analyse(residual)
    turbo = captured(codebook, select_turbo(products, count), residual)
    tracks = captured(codebook, select_tracks(products, count, width), residual)
    return torch.tensor([turbo, tracks, captured_by_fractional_tracks(products / ATOMS**0.5, count)])


def captured(codebook: Codebook, selection: Steering, residual: Tensor) -> float:
    """Returns the energy along the steering noise: its squared inner product over its squared norm."""
    z = selection.steer(codebook)
    return float((z * residual).sum() ** 2 / z.square().sum())


def captured_by_fractional_tracks(products: Tensor, count: int) -> float:
    """Returns the energy that the best atom of each of ``count`` tracks captures, no atom being left out."""
    table = torch.nn.functional.pad(products.abs(), (0, -ATOMS % count)).view(-1, count)
    return float(table.amax(dim=0).sum() ** 2 / count)


if __name__ == "__main__":
    main()
