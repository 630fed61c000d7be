"""DiffC: channel simulation, seeds of fixed length, and the Zipf coder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import e, exp, inf, log, log2, nan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flipproof.errors import SpecError
from flipproof.protocol.diffc import DiffCProtocol
from flipproof.protocol.zipf import compress, expand, exponent, weights
from flipproof.seeds import derive, generator
from flipproof.selection.diffc import Seeds, divide, select_diffc
from flipproof.selection.diffc import _collect as collect
from flipproof.selection.diffc import _deal as deal


@dataclass(frozen=True)
class MatrixCodebook:
    """A codebook written out as a matrix (K, n)."""

    matrix: Tensor

    @property
    def size(self) -> int:
        return self.matrix.shape[1]

    @property
    def atoms(self) -> int:
        return self.matrix.shape[0]

    def analyse(self, vectors: Tensor) -> Tensor:
        return vectors @ self.matrix.T

    def synthesise(self, atoms: Tensor, weights: Tensor) -> Tensor:
        return torch.einsum("bm,bmn->bn", weights, self.matrix[atoms])

    def noise(self, batch: int) -> Tensor:
        return torch.full((batch, self.size), 7.0)


def gaussian(atoms: int, size: int, seed: int) -> MatrixCodebook:
    return MatrixCodebook(torch.from_numpy(np.random.default_rng(seed).standard_normal((atoms, size), np.float32)))


def seeds_of(numbers: list[int], step: int = 0, size: int = 1) -> Seeds:
    return Seeds(torch.tensor([numbers]), torch.zeros(1, len(numbers), dtype=torch.bool), step, size)


# --- the simulated channel


def simulate(kl: float, seed_bits: int, trials: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mean of two chunks of four samples with so many bits each; samples (trials, 8), seeds (trials, 2)."""
    mean = (2 * log(2) * kl / 4) ** 0.5 * np.array([1, -1, -1, 1, 1, 1, -1, 1], np.float32)
    samples, seeds = [], []
    for trial in range(trials):
        codebook = gaussian(1 << seed_bits, 4, trial)
        selection = select_diffc(codebook, torch.from_numpy(mean)[None], step=trial, parts=2)
        samples.append(selection.steer(codebook)[0].numpy())
        seeds.append(selection.seeds[0].numpy())
    return mean, np.array(samples), np.array(seeds)


def test_the_sample_has_the_mean_and_the_variance_of_the_channel() -> None:
    mean, samples, _ = simulate(kl=4, seed_bits=11, trials=500)
    # Eight normal variables and one nearly normal one, each within 4.9 deviations: error probability 1e-5.
    assert (np.abs(samples.mean(0) - mean) * 500**0.5 < 4.9).all()
    spread = ((samples - mean) ** 2).sum()
    assert abs(spread - samples.size) < 4.9 * (2 * samples.size) ** 0.5


def test_early_candidates_are_likelier() -> None:
    _, _, seeds = simulate(kl=5, seed_bits=11, trials=300)
    logs = np.log2(seeds + 1.0)
    # A scalar simulation of 6000 choices among 2**11 normal inner products has mean 4.27 and deviation 3.12:
    # 0.65 is 5 deviations of the mean of 600, error probability 1e-6.
    assert logs.mean() < 5 + log2(e) / e + 1
    assert abs(logs.mean() - 4.27) < 0.65


def test_two_candidates_are_taken_as_often_as_theory_says() -> None:
    # With weights w0 < w1 the second candidate wins with probability 1 - w0 / w1, otherwise never.
    codebook = MatrixCodebook(torch.tensor([[0.25], [1.0]]))
    parts, mean = 20_000, 1.5
    seeds = select_diffc(codebook, torch.full((1, parts), mean), step=3, parts=parts).seeds
    share = (1 - exp(-mean * 0.75)) / 2  # half of the signs are flipped
    deviation = (share * (1 - share) / parts) ** 0.5
    assert abs(seeds.double().mean().item() - share) < 4.9 * deviation  # error probability 1e-6


@pytest.mark.parametrize(("size", "parts"), [(12, 3), (10, 3), (7, 7), (5, 1), (3, 5)])
def test_selection_and_sample_follow_the_definition(size: int, parts: int) -> None:
    length, step = -(-size // parts), 5
    codebook = gaussian(8, length, seed=size)
    mean = np.random.default_rng(parts).standard_normal(size).astype(np.float32)
    seeds = select_diffc(codebook, torch.from_numpy(mean)[None], step, parts)

    slots = parts * length
    words = np.random.Philox(key=derive(purpose="diffc arrangement", slots=slots, step=step)).random_raw(slots).tolist()
    order = sorted(range(slots), key=words.__getitem__)
    signs = [-1 if word % 2 else 1 for word in words]
    clock = generator(purpose="diffc arrivals", size=size, parts=parts, step=step)
    sample = [0.0] * slots
    for part in range(parts):
        places = order[part * length : (part + 1) * length]
        chunk = [signs[place] * mean[place] if place < size else 0.0 for place in places]
        time, best, winner = 0.0, inf, -1
        for number, gap in enumerate(clock.standard_exponential(8)):
            time += gap
            atom = codebook.matrix[number].tolist()
            score = time / exp(sum(a * b for a, b in zip(chunk, atom, strict=True)))
            if score < best:
                best, winner = score, number
        assert seeds.seeds[0, part] == winner
        for place, value in zip(places, codebook.matrix[winner].tolist(), strict=True):
            sample[place] = signs[place] * value
    torch.testing.assert_close(seeds.steer(codebook), torch.tensor([sample[:size]]))


@given(st.integers(1, 60), st.integers(0, 20), st.integers(0, 99), st.integers(1, 3))
def test_dealing_is_undone(size: int, more: int, step: int, batch: int) -> None:
    samples = torch.arange(batch * size, dtype=torch.float32).view(batch, size) + 1
    dealt = deal(samples, size + more, step)
    assert torch.equal(collect(dealt, size, step), samples)
    assert torch.equal(dealt.abs().sort().values[:, more:], samples)


def test_every_step_deals_differently_and_always_the_same() -> None:
    samples = torch.arange(1.0, 101)[None]
    first, second = deal(samples, 100, 0), deal(samples, 100, 1)
    assert (first.abs() == second.abs()).sum() < 10  # Poisson of mean 1: error probability 1e-7
    assert first[0, :8].int().tolist() == GOLDEN_DEAL


def test_a_lost_chunk_is_known_noise_and_spares_the_others() -> None:
    codebook = gaussian(16, 5, 0)
    whole = Seeds(torch.tensor([[3, 9, 1], [0, 2, 15]]), torch.zeros(2, 3, dtype=torch.bool), 2, 14)
    lost = torch.tensor([[False, True, False], [True, True, True]])
    changed = Seeds(whole.seeds, lost, 2, 14).to("cpu").steer(codebook)
    noise = changed.abs() == 7
    assert noise.sum(1).tolist()[0] in (4, 5)
    assert noise[1].all()
    assert torch.equal(changed[~noise], whole.steer(codebook)[~noise])


def test_a_batch_steers_like_its_chains() -> None:
    codebook = gaussian(16, 4, 1)
    both = Seeds(torch.tensor([[3, 9], [0, 15]]), torch.zeros(2, 2, dtype=torch.bool), 0, 7).steer(codebook)
    alone = [seeds_of(row, 0, 7).steer(codebook) for row in ([3, 9], [0, 15])]
    assert torch.equal(both, torch.cat(alone))


@given(st.floats(0, 1e5), st.integers(2, 16), st.integers(0, 15))
def test_chunks_are_few_and_large_enough(kl: float, most: int, padding: int) -> None:
    padding = min(padding, most - 1)
    parts, seed_bits = divide(kl, most, padding)
    assert 1 <= seed_bits <= most
    assert kl / parts <= (most - padding) * (1 + 1e-12)
    assert parts == 1 or kl / (parts - 1) > (most - padding) * (1 - 1e-12)
    assert min(kl / parts + padding, most) <= seed_bits * (1 + 1e-12) or seed_bits == 1


@pytest.mark.parametrize("arguments", [(-1.0,), (nan,), (inf,), (5.0, 2, 2), (5.0, 8, -1)])
def test_impossible_divisions_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(SpecError, match="expected"):
        divide(*arguments)


def test_wrong_shapes_are_refused() -> None:
    codebook = gaussian(4, 5, 0)
    for mean, parts in (
        (torch.zeros(2, 10), 2),
        (torch.zeros(10), 2),
        (torch.zeros(1, 10), 3),
        (torch.zeros(1, 10), 0),
    ):
        with pytest.raises(SpecError, match="expected"):
            select_diffc(codebook, mean, 0, parts)
    with pytest.raises(SpecError, match="codebook of size"):
        seeds_of([1, 2, 3], 0, 10).steer(codebook)


# --- seeds of fixed length

protocols = st.builds(
    DiffCProtocol, seed_bits=st.integers(1, 16), parts=st.integers(1, 9), step=st.just(0), size=st.just(9)
)


@given(protocols, st.data())
def test_seeds_come_back(protocol: DiffCProtocol, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, protocol.atoms - 1), min_size=protocol.parts, max_size=protocol.parts))
    bits = protocol.write(seeds_of(numbers))
    assert bits.shape == (protocol.bits,)
    assert "".join(map(str, bits)) == "".join(f"{number:0{protocol.seed_bits}b}" for number in numbers)
    read = protocol.read(bits[None], np.ones(protocol.bits, bool))
    assert read.seeds.tolist() == [numbers]
    assert not read.lost.any()
    assert (read.step, read.size) == (0, 9)
    assert protocol.faults(bits[None]).tolist() == [0]


@given(protocols, st.data())
def test_one_bit_is_one_chunk(protocol: DiffCProtocol, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, protocol.bits - 1))
    bits = np.random.default_rng(place).integers(0, 2, (2, protocol.bits)).astype(np.uint8)
    bits[1] = bits[0]
    bits[1, place] ^= 1
    known = np.ones(protocol.bits, bool)
    before, after = protocol.read(bits, known).seeds
    assert (before != after).nonzero().ravel().tolist() == [place // protocol.seed_bits]
    known[place] = False
    read = protocol.read(bits, known)
    assert read.lost.shape == (2, protocol.parts)
    assert read.lost[0].nonzero().ravel().tolist() == [place // protocol.seed_bits]


@pytest.mark.parametrize(("seed_bits", "parts"), [(0, 1), (17, 1), (8, 0)])
def test_protocols_out_of_range_are_refused(seed_bits: int, parts: int) -> None:
    with pytest.raises(SpecError, match="expected"):
        DiffCProtocol(seed_bits, parts, 0, 1)


# --- the Zipf coder


@st.composite
def files(draw: st.DrawFn) -> tuple[list[np.ndarray], list[float], list[int]]:
    seed_bits = draw(st.lists(st.integers(1, 10), max_size=4))
    exponents = [draw(st.floats(0, 2)) for _ in seed_bits]
    seeds = [draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=9)) for bits in seed_bits]
    return [np.array(numbers, np.int64) for numbers in seeds], exponents, seed_bits


def joined(seeds: list[np.ndarray]) -> list[int]:
    return [int(number) for numbers in seeds for number in numbers]


@given(files())
def test_files_come_back(file: tuple[list[np.ndarray], list[float], list[int]]) -> None:
    seeds, exponents, seed_bits = file
    counts = [len(numbers) for numbers in seeds]
    data = compress(seeds, exponents, seed_bits)
    back, complete = expand(data, exponents, seed_bits, counts)
    assert [len(numbers) for numbers in back] == counts
    assert joined(back) == joined(seeds)
    assert complete == sum(counts)


@given(files(), st.binary(max_size=9))
def test_what_follows_a_file_does_not_matter(
    file: tuple[list[np.ndarray], list[float], list[int]], tail: bytes
) -> None:
    seeds, exponents, seed_bits = file
    data = compress(seeds, exponents, seed_bits) + tail
    back, complete = expand(data, exponents, seed_bits, [len(numbers) for numbers in seeds])
    assert joined(back) == joined(seeds)
    assert complete == len(joined(seeds))


@given(files(), st.data())
def test_a_prefix_gives_the_first_seeds(
    file: tuple[list[np.ndarray], list[float], list[int]], data: st.DataObject
) -> None:
    seeds, exponents, seed_bits = file
    counts = [len(numbers) for numbers in seeds]
    whole = compress(seeds, exponents, seed_bits)
    cut = data.draw(st.integers(0, len(whole)))
    damage = bytes(len(whole) - cut) if data.draw(st.booleans()) else data.draw(st.binary(max_size=9))
    _, complete = expand(whole[:cut], exponents, seed_bits, counts)
    damaged, _ = expand(whole[:cut] + damage, exponents, seed_bits, counts)
    assert joined(damaged)[:complete] == joined(seeds)[:complete]


def test_few_seeds_are_given_up_at_a_cut() -> None:
    rng = np.random.default_rng(5)
    seeds = [rng.integers(0, 256, 200)]
    data = compress(seeds, [0.0], [8])  # without a preference every seed is one byte
    for cut in (0, 1, 50, 100, 199):
        assert cut - 1 <= expand(data[:cut], [0.0], [8], [200])[1] <= cut


@given(st.binary(max_size=80), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 8), st.integers(0, 40)), max_size=3))
def test_any_bytes_give_seeds(data: bytes, steps: list[tuple[float, int, int]]) -> None:
    exponents, seed_bits, counts = ([step[place] for step in steps] for place in range(3))
    seeds, complete = expand(data, exponents, seed_bits, counts)
    assert [len(numbers) for numbers in seeds] == counts
    assert all(((numbers >= 0) & (numbers < 1 << bits)).all() for numbers, bits in zip(seeds, seed_bits, strict=True))
    assert 0 <= complete <= sum(counts)


def test_bytes_that_no_coder_writes_bring_it_to_a_halt() -> None:
    seeds, complete = expand(b"\xff" * 100, [1.0], [8], [50])
    assert complete < 50
    assert not seeds[0][complete:].any()


@settings(max_examples=20)
@given(st.floats(0, 2), st.integers(1, 12))
def test_length_is_the_entropy(s: float, seed_bits: int) -> None:
    chances = weights(s, seed_bits) / weights(s, seed_bits).sum()
    information = -np.log2(chances)
    seeds = np.random.default_rng(int(1e6 * s)).choice(1 << seed_bits, 400, p=chances)
    data = compress([seeds], [s], [seed_bits])
    # The last byte may be hardly used; probabilities below 2**-24 are raised, which shortens the rarest seeds.
    assert -4 < 8 * len(data) - information[seeds].sum() < 17


def test_a_simulated_channel_is_coded_close_to_its_information() -> None:
    _, _, seeds = simulate(kl=5, seed_bits=11, trials=200)
    bits = 8 * len(compress([seeds.ravel()], [exponent(5)], [11])) / seeds.size
    # The same scalar simulation: mean 7.27, deviation 3.6; 0.9 is 5 deviations of the mean of 400.
    assert abs(bits - 7.27) < 0.9


def test_weights_are_powers() -> None:
    for level in range(0, 513, 37):
        reference = 2.0**32 * np.arange(1, 1025) ** (-level / 256)
        assert np.abs(weights(level / 256, 10) - reference).max() <= 0.5 + 1e-5


def test_weights_and_bytes_are_pinned() -> None:
    table = weights(exponent(14), 16)
    assert hashlib.sha256(table.astype("<f8").tobytes()).hexdigest()[:16] == GOLDEN_TABLE
    data = compress([np.array([0, 1, 65535, 300]), np.array([7, 0, 3])], [exponent(14), exponent(2)], [16, 4])
    assert data.hex() == GOLDEN_FILE


def test_exponents_are_those_of_li_and_el_gamal() -> None:
    assert exponent(0) == pytest.approx(1 + 1 / (1 + log2(e) / e))
    assert exponent(14) == pytest.approx(1.06438, abs=1e-5)
    assert (weights(9.0, 3) == weights(2.0, 3)).all()
    assert (weights(-9.0, 3) == weights(0.0, 3)).all()


@pytest.mark.parametrize("kl", [-1.0, nan, inf])
def test_impossible_exponents_are_refused(kl: float) -> None:
    with pytest.raises(SpecError, match="expected"):
        exponent(kl)


def test_impossible_files_are_refused() -> None:
    one = [np.array([1])]
    for seeds, exponents, seed_bits in (
        (one, [], [4]),
        (one, [1.0], [4, 4]),
        (one, [nan], [4]),
        (one, [1.0], [0]),
        (one, [1.0], [17]),
        ([np.array([16])], [1.0], [4]),
        ([np.array([-1])], [1.0], [4]),
    ):
        with pytest.raises(SpecError, match="expected"):
            compress(seeds, exponents, seed_bits)
    with pytest.raises(SpecError, match="expected"):
        expand(b"", [1.0], [4], [-1])


GOLDEN_DEAL = [-99, -20, -80, -91, -48, 16, 55, 1]
GOLDEN_TABLE = "467db19cce0f4373"
GOLDEN_FILE = "0519af8ca099e8"
