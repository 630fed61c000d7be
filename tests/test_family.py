"""Published operating points and rules of the reverse-channel-coding family, and its encoders against slow ones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from conftest import photograph
from family import CHEAP, NAMES, Wiener, flip, opened
from flipproof.bits import BitReader, BitWriter
from flipproof.chain import Move, drive, walk
from flipproof.codebook.gaussian import GaussianCodebook
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.codec.ddcm import DDCM
from flipproof.codec.diffc import DiffC, RobustDiffC
from flipproof.codec.script import COMMON_BITS, Common
from flipproof.codec.turbo import HybridTurboDDCM, RobustTurboDDCM, TurboDDCM, published_free_steps
from flipproof.codec.uniform import FIXED_BITS
from flipproof.container import packed_size
from flipproof.prior.base import LATENTS, PIXELS, Prior
from flipproof.protection.plan import UNPROTECTED
from flipproof.result import Status
from flipproof.schedule import TimestepSchedule, even_timesteps, turbo_timesteps
from flipproof.selection.base import Selection

OF = dict(zip(NAMES, CHEAP, strict=True))


def alpha_bars():
    """Stable Diffusion's noise schedule by its definition."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    return np.cumprod(1 - betas)


def numbers(*fields):
    """Header fields (value, bits), one after another."""
    writer = BitWriter()
    for value, bits in fields:
        writer.write("field", value, bits)
    return BitReader(writer.getvalue())


# Operating points


@pytest.mark.parametrize("space", [PIXELS, LATENTS], ids=["pixels", "latents"])
@pytest.mark.parametrize(
    ("kind", "atoms", "count", "own", "per_step"),
    [
        (TurboDDCM, 14, 114, [], 1091),
        (RobustTurboDDCM, 14, 73, [], 1095),
        (HybridTurboDDCM, 14, 106, [(10, 13)], 1092),
    ],
)
def test_operating_points_of_the_turbo_family(kind, atoms, count, own, per_step, space):
    """512x512, T = 30, K = 2^14: the published rule gives N = 5, so 24 coded steps, at about 0.1 bits per pixel."""
    free = published_free_steps(29 * per_step / 512**2, 512**2, 30)
    reader = numbers((30, 10), (free, 10), (atoms, 5), (count, 13), (0, 3), *own)
    script = kind.read_script(reader, Common(512, 512, space, "rotated"))
    coded = [step.bits for step in script.steps if step.bits]
    assert free == 5
    assert coded == 24 * [per_step]
    assert [bool(step.bits) for step in script.steps] == [False] + 24 * [True] + 5 * [False]
    assert script.payload_size == 24 * per_step / 8


def test_operating_point_of_ddcm():
    """T = 1000, K = 8192, M = 2, C = 3: 29 bits at each of 999 steps, 0.1105 bits per pixel at 512x512."""
    reader = numbers((1000, 10), (0, 10), (13, 5), (2, 13), (0, 3), (2, 3))
    script = DDCM.read_script(reader, Common(512, 512, LATENTS, "gaussian"))
    assert [step.bits for step in script.steps] == [0] + 999 * [29]
    assert sum(step.bits for step in script.steps) == 28971
    assert script.payload_size == 3622


def brute_force_free_steps(bpp, pixels, steps):
    edges = np.logspace(np.log10(0.01), np.log10(0.15), 70 if pixels <= 768**2 else 20)
    passed = int(np.digitize(bpp, edges, right=True))
    return max(0, min(steps - 2, len(edges) - passed - 1))


@given(st.floats(1e-4, 1.0), st.sampled_from([512**2, 768**2, 768**2 + 1, 1024**2]), st.integers(2, 200))
def test_free_steps_follow_the_published_rule(bpp, pixels, steps):
    edges = np.logspace(np.log10(0.01), np.log10(0.15), 70 if pixels <= 768**2 else 20)
    assume(np.abs(np.log(edges / bpp)).min() > 1e-6)
    assert published_free_steps(bpp, pixels, steps) == brute_force_free_steps(bpp, pixels, steps)


@pytest.mark.parametrize("pixels", [512**2, 1024**2])
def test_free_steps_fall_with_the_rate_between_their_limits(pixels):
    rates = np.geomspace(1e-5, 10, 3000)
    found = [published_free_steps(rate, pixels, 100) for rate in rates]
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == ((69, 0) if pixels == 512**2 else (19, 0))
    assert [published_free_steps(1e-5, pixels, steps) for steps in (2, 3, 10)] == [0, 1, 8]


@pytest.mark.parametrize("kind", [TurboDDCM, RobustTurboDDCM, HybridTurboDDCM])
def test_encoders_take_the_published_number_of_free_steps(kind):
    codec = kind(count=2, atoms=64, grid=4, prior=Wiener())
    script = opened(codec, codec.encode(photograph(64, 64))).script
    per_step = codec.protocol(2).bits
    free = brute_force_free_steps(29 * per_step / 64**2, 64**2, 30)
    assert 0 < free < 28
    assert [step.bits for step in script.steps] == [0] + (29 - free) * [per_step] + free * [0]


@pytest.mark.parametrize(("kind", "count"), [(TurboDDCM, 114), (RobustTurboDDCM, 73), (HybridTurboDDCM, 106)])
def test_the_published_counts_are_what_the_rate_asks_for(kind, count):
    """Of a file that may have the header and 24 steps of so many bits, and not a bit more for one atom."""
    codec = kind(count=count)
    fields = -(-(COMMON_BITS + FIXED_BITS + codec._protocol_bits()) // 8)
    size = packed_size(fields, -(-24 * codec.protocol(count).bits // 8), UNPROTECTED)
    assert kind(bpp=8 * size / 512**2)._count_for(512, 512) == count
    assert kind(bpp=8 * (size - 1) / 512**2)._count_for(512, 512) == count - 1


# Steps


class Guessing(Prior):
    """Answers with noise of its own, and remembers everything."""

    name = "guessing"
    fingerprint = 0
    space = LATENTS

    def __init__(self):
        self.questions, self.answers = [], []
        self.noise = torch.Generator().manual_seed(1)

    def denoise(self, y, sigma):
        self.questions.append(y.double().numpy())
        self.answers.append(torch.randn(y.shape, generator=self.noise))
        return self.answers[-1]


def ddim(x_t, clean, z, now, after, eta):
    """One update of Song et al. (2021), equation 12, from the signal level ``now`` to ``after`` (both alpha-bar)."""
    predicted_noise = (x_t - math.sqrt(now) * clean) / math.sqrt(1 - now)
    deviation = eta * math.sqrt((1 - after) / (1 - now)) * math.sqrt(1 - now / after)
    direction = math.sqrt(1 - after - deviation**2) * predicted_noise
    return math.sqrt(after) * clean + direction + deviation * z


@pytest.mark.parametrize("eta", [0, 1])
@pytest.mark.parametrize("steps", [5, 30])
def test_steps_are_those_of_ddim(eta, steps):
    """Coded steps are its updates with eta = 1, free ones with eta = 0, on samples scaled by the root of alpha-bar."""
    timesteps, prior = turbo_timesteps(steps), Guessing()
    levels, rng = alpha_bars()[list(timesteps)], np.random.default_rng(0)
    noises = [rng.standard_normal((1, 4 * 6 * 5)) for _ in timesteps]

    def choose(proposal):
        if proposal.index == steps:
            return None
        z = None if eta == 0 and proposal.index else torch.from_numpy(noises[proposal.index]).float()
        return Move(proposal.target.sigma, z)

    end, _ = drive(walk(prior, TimestepSchedule(1, 1.0, timesteps), (1, 6, 5)), choose)
    ys = [*prior.questions, end.double().numpy()]
    x_t = math.sqrt(1 - levels[0]) * noises[0].reshape(1, 4, 6, 5)
    assert np.allclose(math.sqrt(levels[0]) * ys[0], x_t, atol=1e-5)
    for index, (y, clean) in enumerate(zip(ys[1:], prior.answers, strict=True)):
        z = noises[index + 1].reshape(x_t.shape)
        x_t = ddim(x_t, clean.double().numpy(), z, levels[index], levels[index + 1], eta)
        assert np.allclose(math.sqrt(levels[index + 1]) * y, x_t, atol=1e-5)


# Encoders against slow ones


class Slow:
    """A chain of pixels averaged over 2x2, in float64, with the atoms of a codebook as rows of a matrix."""

    def __init__(self, picture, timesteps, codebook=GaussianCodebook):
        blocks = picture.astype(float).transpose(2, 0, 1) / 127.5 - 1
        self.shape = 3, picture.shape[0] // 2, picture.shape[1] // 2
        self.x = blocks.reshape(3, self.shape[1], 2, self.shape[2], 2).mean(axis=(2, 4)).ravel()
        bars = alpha_bars()[list(timesteps)]
        self.sigmas = 0.5 * 8 / 2 * np.sqrt((1 - bars) / bars)
        self.sigma = self.sigmas[0]
        self.codebook = codebook
        self.y = self.sigma * codebook(self.x.size, 1, 0).noise(1)[0].double().numpy()

    @property
    def mean(self):
        return self.y * 0.25 / (0.25 + self.sigma**2)

    @property
    def residual(self):
        return self.x - self.mean

    def matrix(self, atoms, step):
        rows = torch.arange(atoms)[:, None]
        return self.codebook(self.x.size, atoms, step).synthesise(rows, torch.ones(atoms, 1)).double().numpy()

    def move(self, step, z):
        """Takes the DDPM step with z, or the DDIM step without any."""
        ratio = self.sigmas[step] / self.sigma
        kept = ratio if z is None else ratio**2
        noise = 0 if z is None else self.sigmas[step] * math.sqrt(1 - ratio**2) * z
        self.y, self.sigma = self.mean + kept * (self.y - self.mean) + noise, self.sigmas[step]

    def picture(self):
        """The posterior mean, of which every sample stands for its block."""
        blocks = self.mean.reshape(self.shape).repeat(2, axis=1).repeat(2, axis=2)
        return ((blocks.clip(-1, 1) + 1) * 127.5).transpose(1, 2, 0)


def unit(vector):
    return vector / math.sqrt((vector**2).mean())


def best_signed(matrix, residual, count):
    """The atoms of largest absolute inner product, best first, and their signs."""
    products = matrix @ residual
    best = sorted(range(len(products)), key=lambda k: -abs(products[k]))[:count]
    return best, [1 if products[k] >= 0 else -1 for k in best]


def tiny():
    return photograph(16, 12, seed=3)


@pytest.mark.parametrize("kind", [TurboDDCM, RobustTurboDDCM, HybridTurboDDCM])
def test_turbo_against_a_slow_encoder(kind):
    codec = kind(count=6, atoms=64, steps=7, free_steps=2, grid=2, codebook="gaussian", prior=Wiener())
    data = codec.encode(tiny())
    chain = Slow(tiny(), turbo_timesteps(7))
    for index, read in enumerate(opened(codec, data).read(), start=1):
        matrix = chain.matrix(64, index)
        atoms, signs = best_signed(matrix, chain.residual, 6)
        found = list(zip(read.atoms[0].tolist(), read.signs[0].tolist(), strict=True))
        expected = list(zip(atoms, signs, strict=True))
        if kind is TurboDDCM:
            expected.sort()
        elif kind is HybridTurboDDCM:
            expected = expected[:6]  # ten are to be alone, so all are
        assert found == expected
        chain.move(index, unit(sum(sign * matrix[atom] for atom, sign in zip(atoms, signs, strict=True))))
    assert index == 4
    for step in (5, 6):
        chain.move(step, None)
    assert np.abs(codec.decode(data).picture - chain.picture()).max() < 0.51


def pursue(matrix, residual, count, most):
    """Tries every atom with every coefficient, and keeps the mixture that points best: atoms, codes and the mixture."""
    atoms, codes = [int(np.argmax(matrix @ residual))], []
    z = unit(matrix[atoms[0]])
    while len(atoms) < count:
        tried = {
            (k, c): unit(math.sqrt(c / most) * z + math.sqrt(1 - c / most) * matrix[k])
            for k in range(len(matrix))
            for c in range(1, most)
        }
        best = max(tried, key=lambda choice: tried[choice] @ residual, default=None)
        if best is None or tried[best] @ residual <= z @ residual:
            break
        z = tried[best]
        atoms.append(best[0])
        codes.append(best[1])
    return atoms, codes, z


@pytest.mark.parametrize(("count", "coefficient_bits"), [(1, 1), (3, 2), (4, 3)])
def test_ddcm_against_a_slow_encoder(count, coefficient_bits):
    """256 atoms of 144 samples: all have the same norm, and not all of them are orthogonal."""
    codec = DDCM(
        count=count, atoms=256, steps=5, grid=2, coefficient_bits=coefficient_bits, codebook="rotated", prior=Wiener()
    )
    data = codec.encode(tiny())
    chain = Slow(tiny(), even_timesteps(5), RotatedCodebook)
    for index, read in enumerate(opened(codec, data).read(), start=1):
        atoms, codes, z = pursue(chain.matrix(256, index), chain.residual, count, (1 << coefficient_bits) - 1)
        missing = [0] * (count - len(atoms))
        assert read.atoms[0].tolist() == atoms + missing
        assert read.codes[0].tolist() == codes + missing
        chain.move(index, z)
    assert index == 4
    assert np.abs(codec.decode(data).picture - chain.picture()).max() < 0.51


def test_ddcm_takes_the_norms_of_gaussian_atoms_for_their_mean():
    """It may then miss the best mixture, but not by much."""
    codec = DDCM(count=3, atoms=32, steps=6, grid=2, codebook="gaussian", prior=Wiener())
    data = codec.encode(tiny())
    chain = Slow(tiny(), even_timesteps(6))
    for index, read in enumerate(opened(codec, data).read(), start=1):
        best = pursue(chain.matrix(32, index), chain.residual, 3, 7)[2]
        z = read.steer(GaussianCodebook(chain.x.size, 32, index))[0].double().numpy()
        assert z @ chain.residual > 0.97 * (best @ chain.residual)
        chain.move(index, z)
    assert np.abs(codec.decode(data).picture - chain.picture()).max() < 0.51


@pytest.mark.parametrize("kind", [DiffC, RobustDiffC])
def test_diffc_against_a_slow_decoder(kind):
    """The seeds of a file, put into the formula of the chain, give its picture; its header has the KL of the steps."""
    codec = kind(bpp=6, steps=8, seed_bits=10, grid=2, codebook="gaussian", prior=Wiener())
    data = codec.encode(tiny())
    file, chain = opened(codec, data), Slow(tiny(), turbo_timesteps(8))
    for index, ((step, _), read) in enumerate(zip(file.steps(), file.read(), strict=True), start=1):
        chain.sigmas[index] = step.level.sigma
        kl = (chain.residual**2).sum() * (step.level.sigma**-2 - chain.sigma**-2) / (2 * math.log(2))
        assert abs(step.code - 8 * math.log2(max(kl, 1))) <= 0.51
        codebook = GaussianCodebook(-(-chain.x.size // step.protocol.parts), step.protocol.atoms, index)
        chain.move(index, read.steer(codebook)[0].double().numpy())
    assert index > 1
    assert np.abs(codec.decode(data).picture - chain.picture()).max() < 0.51


# Locality


def changed(before, after):
    """How many atoms or seeds two readings of all steps differ in."""
    count = 0
    for a, b in zip(before, after, strict=True):
        if isinstance(a, Selection):
            count += int(((a.atoms != b.atoms) | (a.signs != b.signs)).sum())
        else:
            count += int((a.seeds != b.seeds).sum())
    return count


@pytest.mark.parametrize("name", ["tracks", "robust-turbo-ddcm", "robust-diffc"])
def test_one_flipped_bit_of_a_file_changes_one_atom(name, photo):
    codec = replace(OF[name], protect="none")
    data = codec.encode(photo)
    file = opened(codec, data)
    clean = file.read()
    for bit in np.random.default_rng(0).choice(range(file.held, len(file.bits)), 60, replace=False):
        assert changed(clean, opened(codec, flip(data, file.place(bit))).read()) == 1
    protected = range(8 * file.start)
    for bit in np.random.default_rng(0).choice(protected, 10, replace=False):
        assert changed(clean, opened(codec, flip(data, bit)).read()) == 0


def test_one_flipped_bit_of_a_rank_changes_many_atoms(photo):
    codec = OF["turbo-ddcm"]
    data = codec.encode(photo)
    file = opened(codec, data)
    bits = np.random.default_rng(0).choice(range(file.held, len(file.bits)), 60, replace=False)
    counts = [changed(file.read(), opened(codec, flip(data, file.place(bit))).read()) for bit in bits]
    assert max(counts) > 0.8 * file.read()[0].atoms.numel()
    assert np.mean(counts) > 3


@pytest.mark.parametrize("name", ["turbo-ddcm", "hybrid-turbo-ddcm"])
def test_a_rank_out_of_range_is_reported_and_shown(name, photo):
    codec = OF[name]
    data = codec.encode(photo)
    file = opened(codec, data)
    steps = list(file.steps())
    protocol = steps[-1][0].protocol
    ranks = protocol if name == "turbo-ddcm" else protocol._groups[1]
    first = sum(step.bits for step, _ in steps) - ranks.bits
    highest = [file.place(first + i) for i in range(ranks.bits - ranks.count)]
    values = np.unpackbits(np.frombuffer(data, np.uint8))
    values[highest] = 1
    values[highest[16::64]] = 0  # no run of equal bytes, which would count as a gap
    result = codec.decode(np.packbits(values).tobytes())
    assert result.status is Status.DEGRADED
    assert result.damage.notes == ("1 value(s) that no encoder writes",)
    assert result.picture.shape == photo.shape
    values[highest[1:]] = 0
    assert codec.decode(np.packbits(values).tobytes()).damage.notes == ()


def test_any_flip_of_a_range_code_leaves_a_picture():
    """Bytes that no encoder writes halt the coder, or leave open which the last seeds are."""
    codec, picture = replace(OF["diffc"], bpp=0.7), photograph(48, 64)
    data = codec.encode(picture)
    rng, start = np.random.default_rng(0), 8 * opened(codec, data).start
    files = [flip(data, bit) for bit in rng.choice(range(start, 8 * len(data)), 20, replace=False)]
    results = codec.decode_many(files)
    assert {result.status for result in results} == {Status.DEGRADED}
    assert {result.damage.payload_intact for result in results} == {False}
    assert all(result.picture.shape == picture.shape for result in results)
    assert {result.damage.notes for result in results} == {(), ("1 value(s) that no encoder writes",)}
