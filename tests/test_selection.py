from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from contracts import pairs
from flipproof.codebook.make import make_codebook
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.selection.base import Selection
from flipproof.selection.pursuit import Pursuit, select_pursuit, squared_norms
from flipproof.selection.tracks import capture, select_tracks, track_bits
from flipproof.selection.turbo import select_turbo

KINDS = ("rotated", "gaussian")


def normals(size: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((1, size))).float()


@dataclass(frozen=True)
class MatrixCodebook:
    """Atoms that are the rows of a matrix; an independent codebook whose norms differ widely."""

    matrix: Tensor

    @classmethod
    def draw(cls, size: int, atoms: int, seed: int = 0) -> MatrixCodebook:
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((atoms, size)) * rng.uniform(0.5, 2, (atoms, 1))
        return cls(torch.from_numpy(rows).float())

    @property
    def size(self) -> int:
        return self.matrix.shape[1]

    @property
    def atoms(self) -> int:
        return self.matrix.shape[0]

    def analyse(self, vectors: Tensor) -> Tensor:
        return vectors @ self.matrix.T

    def synthesise(self, atoms: Tensor, weights: Tensor) -> Tensor:
        return (self.matrix[atoms] * weights[..., None]).sum(dim=1)

    def noise(self, batch: int) -> Tensor:
        return torch.linspace(-3, 3, self.size).expand(batch, -1)


@dataclass(frozen=True)
class NormedMatrixCodebook(MatrixCodebook):
    def squared_norms(self) -> Tensor:
        return self.matrix.square().sum(dim=1)


def unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.square().mean(dim=-1, keepdim=True).sqrt()


def dense(codebook) -> Tensor:
    return codebook.synthesise(torch.arange(codebook.atoms)[:, None], torch.ones(codebook.atoms, 1))


def pursue_by_brute_force(
    matrix: Tensor, residual: Tensor, count: int, bits: int
) -> tuple[list[int], list[int], Tensor]:
    """The published algorithm, word by word: all candidates formed, and judged one coefficient after another."""
    atoms, codes = [int((matrix @ residual[0]).argmax())], []
    z = unit(matrix[atoms[0]])
    while len(atoms) < count:
        best, atom, code, product = z, 0, 0, float(z @ residual[0])
        for index, gamma in enumerate(torch.linspace(0, 1, 2**bits)[1:-1], 1):
            candidates = unit(gamma.sqrt() * z + (1 - gamma).sqrt() * matrix)
            values = candidates @ residual[0]
            if values.max() > product + 1e-3:
                best, atom, code, product = (
                    candidates[values.argmax()],
                    int(values.argmax()),
                    index,
                    float(values.max()),
                )
        z = best
        atoms.append(atom)
        codes.append(code)
    return atoms, codes, z


def test_tracks_are_disjoint_and_hold_the_best_atoms():
    values = normals(1000)
    selection = select_tracks(values, 30, 5)
    assert (selection.atoms[0] % 30 == torch.arange(30)).all()
    table = values[0, :960].view(32, 30)
    assert torch.equal(table.abs().amax(0), values[0, selection.atoms[0]].abs())
    assert torch.equal(selection.signs[0], values[0, selection.atoms[0]].sign())


def test_turbo_takes_the_largest():
    values = normals(1000)
    table = values[0].numpy()
    largest = np.argsort(-np.abs(table))[:20]
    assert pairs(select_turbo(values, 20), 0) == {(int(i), float(np.sign(table[i]))) for i in largest}


@pytest.mark.parametrize("selection", [select_turbo(torch.zeros(1, 8), 3), select_tracks(torch.zeros(1, 8), 2, 2)])
def test_products_of_zero_have_the_sign_that_is_written(selection):
    assert (selection.signs == 1).all()


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 15))
def test_longest_tracks_fit(size, tracks, most):
    bits = track_bits(size, tracks, most)
    assert 0 <= bits <= most
    assert tracks << bits <= size or bits == 0
    assert bits == most or tracks << (bits + 1) > size


@pytest.mark.parametrize("bits", [0, 1, 4, 8])
def test_capture_matches_simulation(bits):
    """Mean of 20,000 maxima within 5 standard errors: false alarm below 10^-6 per case."""
    draws = np.abs(np.random.default_rng(0).standard_normal((20000, 1 << bits))).max(axis=1)
    assert abs(draws.mean() - capture(bits)) < 5 * draws.std() / math.sqrt(len(draws))


def test_steering_noise_points_along_the_residual():
    n, tracks = 6000, 20
    residual = normals(n, seed=1)
    codebook = RotatedCodebook(n, tracks << 8, 0)
    z = select_tracks(codebook.analyse(residual), tracks, 8).steer(codebook)
    assert float(z.square().mean()) == pytest.approx(1, abs=1e-5)
    pointing = float((z * residual).sum() / residual.norm())
    assert pointing == pytest.approx(math.sqrt(tracks) * capture(8), rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_steering_noise_has_unit_variance_whatever_the_selection(kind, size, atoms, count, seed):
    """Repeated atoms, lost ones and more atoms than samples included."""
    rng = np.random.default_rng(seed)
    codebook = make_codebook(kind, size, atoms, 0)
    selection = Selection(
        torch.from_numpy(rng.integers(0, atoms, (3, count))), torch.from_numpy(rng.integers(-1, 2, (3, count))).float()
    )
    z = selection.steer(codebook)
    assert z.shape == (3, size)
    assert torch.allclose(z.square().mean(dim=1), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_steering_noise_is_the_scaled_sum(kind):
    codebook = make_codebook(kind, 50, 64, 0)
    matrix = dense(codebook)
    z = Selection(torch.tensor([[3, 9, 3, 60]]), torch.tensor([[1.0, -1.0, 1.0, 0.0]])).steer(codebook)
    assert torch.allclose(z[0], unit(2 * matrix[3] - matrix[9]), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signs", [[0.0, 0.0], [1.0, -1.0]])
def test_a_step_without_atoms_steers_by_known_noise(kind, signs):
    """Row by row: the second chain has its atom."""
    codebook = make_codebook(kind, 50, 64, 0)
    z = Selection(torch.tensor([[3, 3], [3, 4]]), torch.tensor([signs, [1.0, 0.0]])).steer(codebook)
    assert torch.allclose(z[0], unit(codebook.noise(1)[0]), atol=1e-5)
    assert torch.allclose(z[1], unit(dense(codebook)[3]), atol=1e-5)


def test_sums_that_cancel_but_for_rounding_count_as_nothing():
    codebook = MatrixCodebook(torch.tensor([[0.1, 0.7], [0.3, 0.9], [0.4, 1.6]]))
    z = Selection(torch.tensor([[0, 1, 2]]), torch.tensor([[1.0, 1.0, -1.0]])).steer(codebook)
    assert torch.allclose(z, unit(codebook.noise(1)))


@pytest.mark.parametrize("coefficient_bits", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_pursuit_is_the_published_algorithm(coefficient_bits, seed):
    codebook, residual = NormedMatrixCodebook.draw(40, 24, seed), normals(40, seed + 100)
    atoms, codes, z = pursue_by_brute_force(codebook.matrix, residual, 6, coefficient_bits)
    pursuit = select_pursuit(codebook, residual, 6, coefficient_bits)
    assert pursuit.atoms.tolist() == [atoms]
    assert pursuit.codes.tolist() == [codes]
    assert torch.allclose(pursuit.steer(codebook)[0], z, atol=1e-4)


@pytest.mark.parametrize(("size", "atoms"), [(48, 32), (48, 48), (20, 64)])
def test_pursuit_in_a_rotated_codebook_is_the_published_algorithm(size, atoms):
    """All norms are n there, and more atoms than samples make it less than a basis."""
    codebook, residual = RotatedCodebook(size, atoms, step=2), normals(size, 5)
    expected = pursue_by_brute_force(dense(codebook), residual, 5, 3)
    pursuit = select_pursuit(codebook, residual, 5, 3)
    assert (pursuit.atoms.tolist()[0], pursuit.codes.tolist()[0]) == expected[:2]
    assert torch.allclose(pursuit.steer(codebook)[0], expected[2], atol=1e-4)


def test_norms_are_exact_where_the_codebook_knows_them():
    codebook = NormedMatrixCodebook.draw(10, 6)
    assert torch.equal(squared_norms(codebook), codebook.matrix.square().sum(dim=1))
    assert squared_norms(MatrixCodebook(codebook.matrix)).tolist() == [10.0] * 6
    assert squared_norms(RotatedCodebook(10, 6, 0)).tolist() == [10.0] * 6


@pytest.mark.parametrize(
    "codebook",
    [make_codebook("rotated", 300, 128, 0), make_codebook("gaussian", 300, 128, 0), MatrixCodebook.draw(300, 128)],
)
def test_pursuits_point_the_better_the_more_atoms_they_have(codebook):
    """And never the worse, even where norms are known on average only."""
    residual = normals(300, 7)
    steered = [select_pursuit(codebook, residual, count, 3).steer(codebook) for count in range(1, 9)]
    reached = [float((z * residual).sum() / residual.norm()) for z in steered]
    assert all(after >= before - 1e-4 for before, after in pairwise(reached))
    assert reached[7] > 1.3 * reached[0]
    for z in steered:
        assert float(z.square().mean()) == pytest.approx(1, abs=1e-5)


def test_pursuit_takes_the_largest_signed_product():
    """There are no signs: an atom that points away is no help, however far it points."""
    codebook = NormedMatrixCodebook(torch.tensor([[-9.0, 0.0], [1.0, 0.2], [0.5, 1.0]]))
    pursuit = select_pursuit(codebook, torch.tensor([[1.0, 0.0]]), 1, 3)
    assert pursuit.atoms.tolist() == [[1]]


def test_one_coefficient_bit_takes_one_atom():
    """The only code but 0 gives the new atom no weight."""
    codebook = RotatedCodebook(60, 64, 0)
    pursuit = select_pursuit(codebook, normals(60), 4, 1)
    assert pursuit.codes.tolist() == [[0, 0, 0]]
    assert pursuit.atoms[0, 1:].tolist() == [0, 0, 0]
    z = Pursuit(torch.tensor([[5, 9]]), torch.tensor([[1]]), 1).steer(codebook)
    assert torch.allclose(z[0], dense(codebook)[5], atol=1e-5)


def test_nothing_to_point_at_takes_one_atom():
    pursuit = select_pursuit(RotatedCodebook(60, 64, 0), torch.zeros(1, 60), 4, 3)
    assert pursuit.codes.tolist() == [[0, 0, 0]]


def test_pursuits_of_many_chains_steer_alike():
    """Every chain by itself: one that ends early, one with everything, and those with losses."""
    codebook, bits = NormedMatrixCodebook.draw(30, 16), 2
    atoms = torch.tensor([[3, 5, 7], [3, 5, 7], [-1, 5, 7], [3, -1, 7], [3, 5, 7], [3, -1, 7]])
    codes = torch.tensor([[0, 2], [1, 2], [1, 2], [1, 2], [-1, 2], [0, 2]])
    a, known = codebook.matrix, unit(codebook.noise(1)[0])

    def mixed(z: Tensor, atom: int, code: int) -> Tensor:
        return unit(math.sqrt(code / 3) * z + math.sqrt(1 - code / 3) * a[atom])

    first = unit(a[3])
    expected = [
        first,
        mixed(mixed(first, 5, 1), 7, 2),
        mixed(mixed(known, 5, 1), 7, 2),
        mixed(first, 7, 2),
        mixed(first, 7, 2),
        first,
    ]
    assert torch.allclose(Pursuit(atoms, codes, bits).to("cpu").steer(codebook), torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("code", range(8))
def test_opposite_atoms_never_cancel(code):
    """No coefficient is one half, because 2^C - 1 is odd."""
    codebook = MatrixCodebook(torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]))
    z = Pursuit(torch.tensor([[0, 1]]), torch.tensor([[code]]), 3).steer(codebook)
    assert torch.allclose(z, codebook.matrix[0] if code in (0, 4, 5, 6, 7) else codebook.matrix[1], atol=1e-5)
