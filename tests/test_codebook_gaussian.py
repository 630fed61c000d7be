"""The Gaussian codebook: its definition, its tiles and its statistics."""

from __future__ import annotations

import hashlib
import math
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest
import torch

from flipproof.codebook import gaussian
from flipproof.codebook.gaussian import GaussianCodebook, quantiles
from flipproof.seeds import derive, generator


def matrix(codebook):
    """All atoms (K, n), one by one."""
    return codebook.synthesise(torch.arange(codebook.atoms)[:, None], torch.ones(codebook.atoms, 1))


def normals(*shape):
    return torch.from_numpy(generator(purpose="test of codebooks").standard_normal(shape, np.float32))


@cache
def sample(rows, size, step=0):
    return matrix(GaussianCodebook(size, rows, step))


def test_golden_table():
    digest = hashlib.sha256(quantiles().numpy().astype("<f4").tobytes()).hexdigest()
    assert digest == "1cfbba1e07e34386a57626f82aeb43e6ed54ba70a3ea6b7d964dc66a841074a8"


def philox(key, count):
    """Philox4x64-10 in plain Python: the first words of the stream of a 128-bit key."""
    words, mask = [], 2**64 - 1
    weyl = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
    for counter in range(1, -(-count // 4) + 1):
        c, k = [counter, 0, 0, 0], [key & mask, key >> 64]
        for _ in range(10):
            p, q = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [(q >> 64) ^ c[1] ^ k[0], q & mask, (p >> 64) ^ c[3] ^ k[1], p & mask]
            k = [(k[i] + weyl[i]) & mask for i in (0, 1)]
        words += c
    return words[:count]


def reference(size, atoms, step, purpose="gaussian codebook"):
    """The atoms as the specification defines them, in plain Python."""

    def stream(axis, count):
        key = derive(purpose=purpose, axis=axis, size=size, step=step, seed=0)
        return [divmod(word, 2**32)[::-1] for word in philox(key, count)]

    half, rows = -(-size // 2), []
    for a, m in stream("rows", atoms):
        row = [0] * 2 * half
        for j, (c, d) in enumerate(stream("columns", half)):
            x = (c ^ a) * (m | 1) % 2**32
            x ^= x >> 16
            x = (x + d) * 0x7FEB352D % 2**32
            x ^= x >> 15
            x = x * 0x846CA68B % 2**32
            x ^= x >> 16
            row[j], row[half + j] = x % 2**16, x >> 16
        rows.append([NormalDist().inv_cdf((i + 0.5) / 2**16) for i in row[:size]])
    return torch.tensor(rows)


@pytest.mark.parametrize(("size", "atoms", "step"), [(1, 1, 0), (2, 9, 1), (9, 5, 2), (24, 40, 3)])
def test_gaussian_atoms_match_the_specification(size, atoms, step):
    codebook = GaussianCodebook(size, atoms, step)
    assert torch.equal(matrix(codebook), reference(size, atoms, step))
    assert torch.equal(codebook.noise(1), reference(size, 1, step, "known noise"))


def test_quantiles():
    special = pytest.importorskip("scipy.special")
    expected = special.ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
    assert np.array_equal(quantiles().numpy(), expected)
    assert torch.equal(quantiles(), -quantiles().flip(0))


@pytest.mark.parametrize("tile", [1, 7, 64])
def test_tiles_do_not_show(tile, monkeypatch):
    codebook = GaussianCodebook(37, 23, 0)
    atoms, weights = torch.tensor([[3, 22, 3], [0, 1, 2]]), normals(2, 3)
    whole = codebook.analyse(normals(2, 37)), codebook.synthesise(atoms, weights), codebook.noise(1), matrix(codebook)
    monkeypatch.setattr(gaussian, "TILE", tile)
    assert torch.allclose(codebook.analyse(normals(2, 37)), whole[0], rtol=1e-5, atol=1e-5)
    assert torch.allclose(codebook.synthesise(atoms, weights), whole[1], rtol=1e-5, atol=1e-5)
    assert torch.equal(codebook.noise(1), whole[2])
    assert torch.equal(matrix(codebook), whole[3])


def test_only_a_tile_is_ever_made(monkeypatch):
    monkeypatch.setattr(gaussian, "TILE", 64)
    codebook = GaussianCodebook(100, 50, 0)
    rows, columns = codebook._words("gaussian codebook", 50, torch.device("cpu"))
    covered = torch.zeros(50, 100)
    for tile in gaussian._tiles(rows, columns, 100):
        assert tile.samples.numel() <= 64
        covered[tile.rows, tile.columns] += 1
    assert torch.equal(covered, torch.ones(50, 100))


def test_rows_longer_than_a_tile():
    size = 2 * gaussian.TILE + 12345
    codebook = GaussianCodebook(size, 2, 0)
    products = codebook.analyse(torch.ones(1, size))[0]
    assert torch.allclose(products, matrix(codebook).double().sum(dim=1).float(), rtol=0, atol=0.01)


def test_synthesis_makes_only_the_atoms_it_needs(monkeypatch):
    made = []
    tiles = gaussian._tiles
    monkeypatch.setattr(gaussian, "_tiles", lambda rows, *rest: made.append(len(rows)) or tiles(rows, *rest))
    atoms = torch.tensor([[2**20 - 1, 5], [5, 77]])
    GaussianCodebook(20, 2**20, 0).synthesise(atoms, torch.ones(2, 2))
    assert made == [3]


def test_samples_are_standard_normal():
    """2^20 samples: four moments within 5 deviations, and Kolmogorov's statistic (above 2.7 once in 1e6 runs)."""
    x = sample(1024, 1024).double().flatten()
    n = x.numel()
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        deviation = math.sqrt(math.prod(range(1, 2 * power, 2)) - moment**2)
        assert abs(float((x**power).mean()) - moment) < 5 * deviation / math.sqrt(n)
    uniform = torch.special.ndtr(x).sort().values
    distance = (uniform - torch.arange(n) / n).abs().max()
    assert math.sqrt(n) * distance < 2.7


def test_all_quantiles_are_equally_likely():
    """Chi-square of 2^22 samples in 2^16 cells, two-sided, within 5 deviations (error 6e-7)."""
    samples = torch.cat([sample(1024, 1024, step) for step in range(4)]).flatten()
    counts = torch.bincount(torch.searchsorted(quantiles(), samples), minlength=2**16).double()
    chi_square = float(((counts - 64) ** 2 / 64).sum())
    assert abs(chi_square - 65535) < 5 * math.sqrt(2 * 65535)


def test_neighbours_are_uncorrelated():
    """Rows, columns, halves of a word and steps: 16 means of about 2^20 products, of values and of squares.

    Each within 5.4 deviations: one of them is outside once in a million runs.
    """
    x = sample(1024, 1024)
    pairs = [(x[d:], x[:-d]) for d in (1, 2, 4)] + [(x[:, d:], x[:, :-d]) for d in (1, 2)]
    pairs += [(x[:, :512], x[:, 512:]), (x[:, 1:512], x[:, 512:-1]), (x, sample(1024, 1024, 1))]
    for a, b in pairs:
        for f in (torch.Tensor.double, lambda x: (x.double() ** 2 - 1) / math.sqrt(2)):
            assert abs(float((f(a) * f(b)).sum())) < 5.4 * math.sqrt(a.numel())


def test_inner_products_behave_like_those_of_normal_atoms():
    """All pairs of 1024 atoms and of 1024 columns: mean, variance and largest, each two-sided with error 1e-6."""
    for x in (sample(1024, 1024), sample(1024, 1024).T):
        i, j = torch.triu_indices(1024, 1024, 1)
        products = (x @ x.T)[i, j].double() / math.sqrt(1024)
        count = products.numel()
        assert abs(float(products.mean())) < 5 / math.sqrt(count)
        assert abs(float(products.var()) - 1) < 5 * math.sqrt(2 / count)
        normal = NormalDist()
        lowest, highest = (-normal.inv_cdf((1 - p ** (1 / count)) / 2) for p in (5e-7, 1 - 5e-7))
        assert lowest < products.abs().max() < highest + 0.5  # a product's tail is a little heavier than a normal one


def test_no_direction_stands_out():
    """The largest singular value of 1024 x 1024 normals follows the law of Tracy and Widom (two-sided error 1e-6)."""
    largest = float(torch.linalg.matrix_norm(sample(1024, 1024), ord=2))
    centre, scale = 4 * 1024 - 2, 2 ** (4 / 3) * 1024 ** (1 / 3)
    assert -7 < (largest**2 - centre) / scale < 8


@pytest.mark.parametrize(("size", "atoms"), [(1, 3), (7, 20), (64, 5)])
def test_squared_norms_are_those_of_the_atoms(size, atoms):
    codebook = GaussianCodebook(size, atoms, step=2)
    matrix = codebook.synthesise(torch.arange(atoms)[:, None], torch.ones(atoms, 1))
    assert torch.allclose(codebook.squared_norms(), matrix.square().sum(dim=1), rtol=1e-5)
