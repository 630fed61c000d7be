"""How files divide into header, indices, signs and parity."""

from __future__ import annotations

from dataclasses import astuple, replace
from math import ceil, comb, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import photograph
from contracts import check_split
from family import CHEAP, FREE, NAMES, SMALL, Wiener, opened
from flipproof import registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.ddcm import DDCM
from flipproof.codec.diffc import DiffC
from flipproof.codec.fec import FecCodec
from flipproof.codec.hyperprior import HyperpriorCodec
from flipproof.codec.jpeg import JpegCodec
from flipproof.codec.rcc import ChainCodec
from flipproof.codec.split import Split
from flipproof.codec.turbo import HybridTurboDDCM, RobustTurboDDCM, TurboDDCM
from flipproof.errors import DecodeError
from flipproof.info import describe
from flipproof.protection.bch import BCH
from flipproof.protection.reed_solomon import ReedSolomon

PLANS = ("none", "uep", "uniform[t=20]", "uniform[t=64]")


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("codec", CHEAP, ids=NAMES)
def test_files_of_chains_divide_as_they_describe_themselves(codec, plan):
    codec = replace(codec, protect=plan, bpp=2.0)
    data = codec.encode(photograph(40, 56))
    check_split(codec, data)
    split = codec.split(data)
    rows = [(name, int(bits)) for name, bits in describe(data)[1][2]]
    payload = sum(bits for name, bits in rows if name.startswith("payload"))
    parity = sum(bits for name, bits in rows if name.startswith("parity"))
    script = opened(codec, data).script
    written = sum(step.bits for step in script.steps) if script.stored is None else 8 * script.stored
    assert split.header == dict(rows)["magic"] + dict(rows)["header"] + 24
    assert split.indices + split.signs == written
    assert 0 <= payload - written < 8
    assert split.parity == parity + 40 + payload - written


@pytest.mark.parametrize(
    ("codec", "steps", "indices", "signs"),
    [
        (TurboDDCM(count=114), 24, ceil(log2(comb(16384, 114))), 114),
        (RobustTurboDDCM(count=73), 24, 73 * 14, 73),
        (HybridTurboDDCM(count=106), 24, 10 * 14 + ceil(log2(comb(16384, 96))), 106),
        (DDCM(count=5, steps=30, atoms=8192), 29, 5 * 13, 4 * 3),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_published_formulas(codec, steps, indices, signs):
    """Of a picture of 512x512 with T = 30, so N = 5 steps of the Turbo family carry no bits."""
    codec = replace(codec, prior=Wiener(), grid=8)
    split = codec.split(codec.encode(np.full((512, 512, 3), 90, np.uint8)))
    assert (split.indices, split.signs) == (steps * indices, steps * signs)


def test_a_range_coder_has_no_signs():
    codec = replace(SMALL[6], prior=Wiener())
    assert isinstance(codec, DiffC)
    data = codec.encode(photograph(40, 56))
    assert (codec.split(data).indices, codec.split(data).signs) == (8 * opened(codec, data).script.stored, 0)


@pytest.mark.parametrize("codec", CHEAP[:3], ids=NAMES[:3])
def test_the_prior_is_not_asked(codec, monkeypatch):
    data = codec.encode(photograph(40, 56))
    monkeypatch.setattr(Wiener, "denoise", None)
    monkeypatch.setattr(Wiener, "fingerprint", None)
    check_split(codec, data)


def test_damage_to_the_header_changes_nothing():
    codec = replace(SMALL[0], prior=Wiener())
    data = codec.encode(photograph(40, 56))
    assert codec.split(bytes([data[0] ^ 1]) + data[1:]) == codec.split(data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1], "expected a file of .* bytes, got"),
        (lambda data: data + b"tail", "expected a file of .* bytes, got"),
        (lambda data: b"no file", "expected a .flip file"),
        (lambda data: CHEAP[1].encode(photograph(40, 56)), "expected a file of trellis, got one of tracks"),
    ],
)
def test_what_is_no_file_of_a_chain_is_refused(change, reason):
    codec = replace(SMALL[0], prior=Wiener(), protect="none")
    with pytest.raises(DecodeError, match=reason):
        codec.split(change(codec.encode(photograph(40, 56))))


@pytest.mark.parametrize("name", [name for name in FREE if not isinstance(registry.codec(name), ChainCodec)])
def test_files_without_atoms(name):
    codec = registry.codec(name)
    data = codec.encode(photograph(48, 64))
    check_split(codec, data)
    split = codec.split(data)
    assert (split.signs, split.parity) == (0, 0)
    assert split.header == (0 if name != "hyperprior" else 8 * 10)


def test_the_header_of_an_envelope_grows_with_its_lengths():
    codec = HyperpriorCodec(quality=255)
    small, large = (codec.encode(photograph(side, side)) for side in (16, 320))
    assert [codec.split(data).header for data in (small, large)] == [8 * 10, 8 * 11]
    with pytest.raises(DecodeError, match="expected the magic"):
        codec.split(b"FPXX" + small[4:])


@pytest.mark.parametrize("inner", [CHEAP[0], JpegCodec(quality=50), HyperpriorCodec()], ids=lambda codec: codec.name)
@pytest.mark.parametrize("code", [BCH(7), ReedSolomon(data=60, parity=20)], ids=str)
def test_parity_of_a_stage_comes_on_top(inner, code):
    codec, picture = FecCodec(FecCodec(inner, code), BCH(3)), photograph(40, 56)
    data, plain = codec.encode(picture), inner.encode(picture)
    check_split(codec, data)
    expected = inner.split(plain)
    assert codec.split(data) == replace(expected, parity=expected.parity + 8 * (len(data) - len(plain)))
    damaged = BinarySymmetricChannel(5e-4).corrupt(data, np.random.default_rng(0))
    assert codec.split(damaged) == codec.split(data)


def test_a_size_that_no_file_of_a_code_has():
    with pytest.raises(DecodeError, match="no file of this code has 3 bytes"):
        FecCodec(JpegCodec(), BCH(7)).split(b"abc")


@settings(max_examples=50)
@given(st.tuples(*[st.integers(0, 2**40)] * 4))
def test_the_total_is_the_sum(parts):
    split = Split(**dict(zip(("header", "indices", "signs", "parity"), parts, strict=True)))
    assert split.total == sum(astuple(split))
