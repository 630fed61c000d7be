"""The codebooks.

To write the golden atoms of a new format version: FLIPPROOF_WRITE_GOLDEN=1 pytest tests/test_codebook.py
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flipproof.codebook import rotated
from flipproof.codebook.gaussian import GaussianCodebook
from flipproof.codebook.make import KINDS, make_codebook
from flipproof.codebook.rotated import RotatedCodebook, hartley, random_signs
from flipproof.errors import SpecError
from flipproof.seeds import derive, generator

GOLDEN = Path(__file__).parent / "golden" / "codebook"
SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 200))  # n, K: fewer, as many and more atoms than samples


def matrix(codebook):
    """All atoms (K, n), one by one."""
    return codebook.synthesise(torch.arange(codebook.atoms)[:, None], torch.ones(codebook.atoms, 1))


def normals(*shape, **axes):
    return torch.from_numpy(generator(purpose="test of codebooks", **axes).standard_normal(shape, np.float32))


# What every codebook does


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(shape=SHAPES, step=st.integers(0, 5), batch=st.integers(1, 3))
def test_analysis_is_the_product_with_all_atoms(kind, shape, step, batch):
    codebook = make_codebook(kind, *shape, step)
    vectors = normals(batch, shape[0])
    products = codebook.analyse(vectors)
    assert products.shape == (batch, shape[1])
    assert torch.allclose(products, vectors @ matrix(codebook).T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(shape=SHAPES, count=st.integers(0, 8), data=st.data())
def test_synthesis_is_a_weighted_sum_of_atoms(kind, shape, count, data):
    codebook = make_codebook(kind, *shape, 3)
    row = st.lists(st.integers(0, shape[1] - 1), min_size=count, max_size=count)
    atoms = torch.tensor(data.draw(st.lists(row, min_size=2, max_size=2)), dtype=torch.int64)
    weights = normals(2, count)
    expected = torch.einsum("bm,bmn->bn", weights, matrix(codebook)[atoms])
    assert torch.allclose(codebook.synthesise(atoms, weights), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (501, 300), (501, 2000)])
def test_synthesis_is_the_adjoint_of_analysis(kind, shape):
    codebook = make_codebook(kind, *shape, 1)
    x, weights = normals(2, shape[0]), normals(2, shape[1], of="weights")
    atoms = torch.arange(shape[1]).expand(2, -1)
    left = (codebook.analyse(x) * weights).sum(dim=1)
    right = (x * codebook.synthesise(atoms, weights)).sum(dim=1)
    assert torch.allclose(left, right, rtol=1e-4, atol=1e-4 * math.prod(shape) ** 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_atoms_add_up_and_lost_ones_are_not_looked_at(kind):
    codebook = make_codebook(kind, 20, 30, 0)
    once = codebook.synthesise(torch.tensor([[25]]), torch.tensor([[2.0]]))
    twice = codebook.synthesise(torch.tensor([[25, 25, 99, -1]]), torch.tensor([[0.5, 1.5, 0.0, 0.0]]))
    assert torch.allclose(once, twice)
    assert not codebook.synthesise(torch.tensor([[3, 4]]), torch.zeros(1, 2)).any()
    assert codebook.synthesise(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0)).shape == (2, 20)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_arithmetic_is_float32_whatever_comes_in(kind, dtype):
    codebook = make_codebook(kind, 300, 400, 0)
    x, atoms, weights = normals(2, 300).to(dtype), torch.tensor([[1, 399], [7, 7]]), torch.ones(2, 2, dtype=dtype)
    assert torch.equal(codebook.analyse(x), codebook.analyse(x.float()))
    assert torch.equal(codebook.synthesise(atoms, weights), codebook.synthesise(atoms, weights.float()))
    assert codebook.analyse(x).dtype == codebook.synthesise(atoms, weights).dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_steps_sizes_seeds_and_noise_are_independent(kind):
    """Correlations of 4096 samples: each within 5.5 deviations of 0, wrong once in a million runs."""
    book = {"rotated": RotatedCodebook, "gaussian": GaussianCodebook}[kind]
    books = [book(4096, 1, 0), book(4096, 1, 1), book(4096, 1, 0, seed=1), book(4096, 1, 2**20), book(4097, 1, 0)]
    rows = torch.cat([b.synthesise(torch.tensor([[0]]), torch.ones(1, 1))[:, :4096] for b in books])
    rows = torch.cat([rows, books[0].noise(1), books[1].noise(1)])
    correlations = (rows @ rows.T / 4096).fill_diagonal_(0)
    assert correlations.abs().max() < 5.5 / math.sqrt(4096)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_white_of_unit_variance_and_the_same_for_every_chain(kind):
    """Mean within 5 deviations; the variance of rotated noise is exact, that of Gaussian noise has deviation .02."""
    noise = make_codebook(kind, 5001, 10, 2).noise(3)
    assert noise.shape == (3, 5001)
    assert torch.equal(noise[0], noise[2])
    assert abs(float(noise[0].mean())) < 5 / math.sqrt(5001)
    assert abs(float(noise[0].square().mean()) - 1) < (1e-5 if kind == "rotated" else 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_codebook_is_the_start_of_a_larger_one(kind):
    small, large = matrix(make_codebook(kind, 37, 50, 4)), matrix(make_codebook(kind, 37, 150, 4))
    assert torch.allclose(small, large[:50], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_misuse_is_a_spec_error(kind):
    codebook = make_codebook(kind, 6, 8, 0)
    one = torch.ones(1, 1)
    with pytest.raises(SpecError, match=r"expected vectors \(B, 6\), got \(1, 8\)"):
        codebook.analyse(torch.zeros(1, 8))
    with pytest.raises(SpecError, match=r"expected atoms in \[0, 8\), got 8"):
        codebook.synthesise(torch.tensor([[8]]), one)
    with pytest.raises(SpecError, match=r"expected atoms in \[0, 8\), got -1"):
        codebook.synthesise(torch.tensor([[-1]]), one)
    with pytest.raises(SpecError, match="expected atoms and weights"):
        codebook.synthesise(torch.tensor([[1, 2]]), one)
    for size, atoms in ((0, 8), (6, 0), (6, -1), (6, 2**60)):
        with pytest.raises(SpecError, match=r"expected (size|atoms) in \[1, \d+\], got"):
            make_codebook(kind, size, atoms, 0)


def test_kinds():
    """The index of a kind is part of the bitstream."""
    assert KINDS == ("rotated", "gaussian")
    assert isinstance(make_codebook("rotated", 2, 3, 4), RotatedCodebook)
    assert make_codebook("gaussian", 2, 3, 4) == GaussianCodebook(2, 3, 4, seed=0)
    with pytest.raises(SpecError, match="expected one of rotated, gaussian, got 'walsh'"):
        make_codebook("walsh", 2, 3, 4)


# What never changes


@pytest.mark.parametrize("kind", KINDS)
def test_golden_atoms(kind):
    """Gaussian samples are the same to the last bit; rotated ones up to the rounding of a Fourier transform."""
    path = GOLDEN / f"{kind}.json"
    if os.environ.get("FLIPPROOF_WRITE_GOLDEN"):
        write_golden(kind, path)
    tolerance = 0 if kind == "gaussian" else 4e-6
    for entry in json.loads(path.read_text()):
        codebook = make_codebook(kind, *entry["codebook"])
        noise = codebook.noise(1)[0, : len(entry["noise"])]
        assert torch.allclose(noise, from_hex(entry["noise"]), rtol=0, atol=tolerance)
        for row, stored in entry["rows"].items():
            found = codebook.synthesise(torch.tensor([[int(row)]]), torch.ones(1, 1))[0, : len(stored)]
            assert torch.allclose(found, from_hex(stored), rtol=0, atol=tolerance)


def write_golden(kind, path):
    def to_hex(samples):
        return [x.hex() for x in samples.tolist()]

    entries = []
    for size, atoms, step in ((6, 4, 0), (7, 21, 3), (16, 40, 1000), (3072, 16384, 12), (65537, 70000, 1)):
        codebook = make_codebook(kind, size, atoms, step)
        rows = {k: codebook.synthesise(torch.tensor([[k]]), torch.ones(1, 1))[0] for k in (0, atoms // 2, atoms - 1)}
        stored = {"codebook": [size, atoms, step], "noise": to_hex(codebook.noise(1)[0, :8])}
        entries.append(stored | {"rows": {str(k): to_hex(row[:8]) for k, row in rows.items()}})
    path.write_text(json.dumps(entries, indent=1) + "\n")


def from_hex(samples):
    return torch.tensor([float.fromhex(x) for x in samples])


def test_golden_signs():
    assert derive(purpose="rotated codebook", size=20, step=3, seed=0) == 0x66DBE0F556DE767F0F384014C589D20A
    signs = RotatedCodebook(20, 20, step=3).analyse(torch.eye(20))[:, 0]  # atom 0 of the transform is all ones
    assert "".join("+-"[s < 0] for s in signs.tolist()) == "--+++++-+++--++---+-"
    assert (
        "".join("+-"[s < 0] for s in random_signs(70, key=1).tolist())
        == "-----+--+-+++++-+-+++--+-+-+---+--+----++-+++-+-+--+--+--+--++-+----+-"
    )


@pytest.mark.slow
def test_samples_do_not_depend_on_the_instructions_of_the_processor():
    program = """
import hashlib, sys, torch
from flipproof.codebook.make import make_codebook
from flipproof.codebook.rotated import RotatedCodebook
digest = hashlib.sha256()
for size, atoms in ((1, 3), (37, 9), (5001, 40)):
    book = make_codebook("gaussian", size, atoms, 5)
    samples = book.synthesise(torch.arange(atoms)[:, None], torch.ones(atoms, 1))
    digest.update(samples.numpy().tobytes() + book.noise(1).numpy().tobytes())
print(digest.hexdigest())
print(*make_codebook("rotated", 1001, 2500, 5).analyse(torch.linspace(-1, 1, 1001)[None])[0].tolist())
"""
    known = ["DEFAULT", "AVX2", "AVX512"]
    best = torch.backends.cpu.get_cpu_capability()
    results = []
    for capability in known[: known.index(best) + 1] if best in known else ["DEFAULT"]:
        environment = os.environ | {"ATEN_CPU_CAPABILITY": capability.lower()}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        digest, products = run.stdout.splitlines()
        results.append((digest, torch.tensor([float(x) for x in products.split()])))
    assert len({digest for digest, _ in results}) == 1
    for _, products in results:
        assert (products - results[0][1]).norm() < 1e-5 * products.norm()


# Rotated


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100])
def test_hartley_matches_its_definition(size):
    x = torch.linspace(-1, 1, 3 * size).view(3, size)
    assert torch.allclose(hartley(x), x @ hartley_matrix(size), atol=1e-5)


def hartley_matrix(size):
    angle = 2 * math.pi * np.outer(np.arange(size), np.arange(size)) / size
    return torch.from_numpy((np.cos(angle) + np.sin(angle)) / math.sqrt(size)).float()


def test_rotated_atoms_match_their_definition():
    size, step = 15, 2
    keys = [derive(purpose="rotated codebook", size=size, step=step, seed=0)]
    keys += [derive(purpose="rotated codebook", size=size, step=step, seed=0, block=b) for b in (1, 2)]
    blocks = [math.sqrt(size) * hartley_matrix(size) * random_signs(size, key) for key in keys]
    assert torch.allclose(matrix(RotatedCodebook(size, 40, step)), torch.cat(blocks)[:40], atol=1e-5)


@settings(deadline=None)
@given(st.integers(1, 300))
def test_atoms_of_a_block_are_orthogonal(size):
    atoms = matrix(RotatedCodebook(size, size, step=1))
    assert torch.allclose(atoms @ atoms.T / size, torch.eye(size), atol=1e-5)


def test_atoms_of_different_blocks_look_independent():
    """The mean square of 3 x 1000^2 inner products is 1 by Parseval; all are below 7.2 deviations (error 2e-6)."""
    atoms = matrix(RotatedCodebook(1000, 3000, step=0)).view(3, 1000, 1000)
    products = torch.stack([a @ b.T for a, b in ((atoms[0], atoms[1]), (atoms[0], atoms[2]), (atoms[1], atoms[2]))])
    products /= math.sqrt(1000)
    assert abs(float(products.square().mean()) - 1) < 1e-4
    assert products.abs().max() < 7.2


def test_products_of_any_residual_look_normal():
    """Variance and fourth moment of 3 x 2^16 products of a very structured residual; bounds of 5 deviations."""
    n = 3 * 2**16
    residual = torch.zeros(1, n)
    residual[0, : n // 7] = torch.linspace(0, 1, n // 7)
    products = RotatedCodebook(n, n, step=5).analyse(residual)[0] / residual.norm()
    assert abs(float(products.square().mean()) - 1) < 1e-4
    assert abs(float(products.pow(4).mean()) - 3) < 5 * math.sqrt(96 / n)
    assert abs(float(products.mean())) < 5 / math.sqrt(n)


def test_blocks_nobody_uses_cost_nothing(monkeypatch):
    made = []
    monkeypatch.setattr(rotated, "hartley", lambda x: made.append(len(x)) or hartley(x))
    atoms = torch.tensor([[2**40 - 1, 5], [2**40 - 2, 777]])
    RotatedCodebook(100, 2**40, step=0).synthesise(atoms, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    assert made == [2, 2]


# On an accelerator


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@needs_cuda
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (37, 100), (5001, 3000), (4096, 20000)])
def test_cuda_agrees_with_the_processor(kind, shape):
    codebook = make_codebook(kind, *shape, 5)
    x = normals(2, shape[0])
    atoms = torch.from_numpy(generator(purpose="test of codebooks").integers(0, shape[1], (2, 40)))
    weights = normals(2, 40)
    here, there = codebook.analyse(x), codebook.analyse(x.cuda())
    assert there.is_cuda
    assert torch.allclose(there.cpu(), here, rtol=1e-4, atol=1e-4 * math.sqrt(shape[0]))
    there = codebook.synthesise(atoms.cuda(), weights.cuda())
    assert torch.allclose(there.cpu(), codebook.synthesise(atoms, weights), rtol=1e-4, atol=1e-4)


@needs_cuda
def test_gaussian_samples_are_the_same_bits_on_cuda():
    codebook = GaussianCodebook(5001, 300, 5)
    atoms = torch.arange(300)[:, None].cuda()
    assert torch.equal(codebook.synthesise(atoms, torch.ones(300, 1).cuda()).cpu(), matrix(codebook))
