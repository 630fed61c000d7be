"""Pictures from the leading share of a file."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import flipproof
from conftest import photograph
from family import CHEAP, KINDS, NAMES, Wiener, opened
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.jpeg import JpegCodec
from flipproof.codec.tracks import TracksCodec
from flipproof.codec.turbo import RobustTurboDDCM, TurboDDCM
from flipproof.errors import DecodeError, SpecError
from flipproof.metric.psnr import psnr
from flipproof.result import Status
from flipproof.study.dataset.bundled import load

PLAIN = tuple(replace(codec, protect="none") for codec in CHEAP)
by_codec = pytest.mark.parametrize("codec", PLAIN, ids=NAMES)


@pytest.fixture(scope="module")
def picture():
    return photograph(64, 96)


@pytest.fixture(scope="module")
def files(picture):
    return {codec.name: codec.encode(picture) for codec in PLAIN}


@by_codec
def test_all_of_a_file_is_the_file(codec, files):
    plain, whole = codec.decode(files[codec.name]), codec.decode(files[codec.name], upto=1)
    assert (plain.picture == whole.picture).all()
    assert (plain.status, plain.damage) == (whole.status, whole.damage)
    assert whole.damage.notes == ()


@pytest.mark.parametrize("codec", KINDS, ids=lambda codec: codec.name)
def test_the_picture_gets_better(codec):
    """On a real photograph: of a few hundred samples, one more step may well overshoot."""
    photo = load("coffee")[110:190, 210:322]
    data = codec.encode(photo)
    quality = [psnr(codec.decode(data, share).picture, photo) for share in np.linspace(0.3, 1, 6)]
    assert max(best - now for best, now in zip(np.maximum.accumulate(quality), quality, strict=True)) < 0.4
    assert quality[-1] > quality[0] + 3


@by_codec
@pytest.mark.parametrize("share", [0.5, 0.6, 0.77, 0.93])
def test_a_share_is_what_a_file_cut_there_shows(codec, share, files):
    data = files[codec.name]
    part, cut = codec.decode(data, share), codec.decode(data[: math.ceil(share * len(data))])
    assert np.array_equal(part.picture, cut.picture)
    assert (part.status, part.damage.missing_bits, part.damage.payload_intact) == (Status.OK, 0, True)
    assert (cut.status, cut.damage.payload_intact) == (Status.DEGRADED, False)
    assert part.damage.notes == cut.damage.notes == ()


@by_codec
def test_nothing_of_a_file_and_its_header_show_no_picture_at_all(codec, files):
    """Gray, or what the denoiser makes of the noise that a chain starts with: the same for every picture."""
    data, other = files[codec.name], codec.encode(photograph(64, 96, seed=5)[::-1])
    for part in (0, 1e-9, 30, 100):
        one, another = codec.decode(data, part / len(data)), codec.decode(other, part / len(other))
        assert one.status is Status.OK
        assert np.array_equal(one.picture, another.picture)
    if codec.name in ("trellis", "tracks"):
        assert len(np.unique(one.picture)) == 1


def test_the_damage_of_the_whole_file_is_reported(files):
    data = files["tracks"]
    codec = TracksCodec(prior=Wiener(), protect="none")
    result = codec.decode(data[:-20], upto=0.5)
    assert (result.status, result.damage.missing_bits) == (Status.DEGRADED, 160)
    damaged = data[:-1] + bytes([data[-1] ^ 128])
    assert codec.decode(damaged, upto=0.5).damage.payload_intact is False


@pytest.mark.parametrize("protect", ["uep", "uniform[t=20]"])
def test_a_share_of_a_protected_file_is_that_of_its_payload(protect, picture):
    """Its bits are all over the file; what counts is the leading share of the payload, repaired."""
    codec = TracksCodec(bpp=0.6, steps_per_octave=3, prior=Wiener(), protect=protect)
    data = codec.encode(picture)
    file = opened(codec, data)
    ends = np.cumsum([step.bits for step, _ in file.steps()])
    payload = 8 * file.script.payload_size
    for step in (len(ends) // 3, len(ends) // 2, len(ends) - 2):
        one, more = (codec.decode(data, (ends[step] + bits) / payload) for bits in (0.5, 5))
        assert np.array_equal(one.picture, more.picture)
        less = codec.decode(data, (ends[step - 1] + 9) / payload)
        assert not np.array_equal(one.picture, less.picture)
        assert (one.status, one.damage.missing_bits, one.damage.payload_intact) == (Status.OK, 0, True)
    assert np.array_equal(codec.decode(data, 0.999999).picture, codec.decode(data).picture)


def test_protected_blocks_are_repaired_before_a_share_is_taken(picture):
    codec = TracksCodec(bpp=0.6, prior=Wiener(), protect="uniform[t=20]")
    data = codec.encode(picture)
    result = codec.decode(BinarySymmetricChannel(5e-3).corrupt(data, np.random.default_rng(0)), 0.5)
    assert result.damage.repaired_bits > 0
    assert np.array_equal(result.picture, codec.decode(data, 0.5).picture)


@pytest.mark.parametrize(("kind", "count"), [(TurboDDCM, 24), (RobustTurboDDCM, 16)])
def test_a_step_is_taken_if_half_of_its_atoms_arrived(kind, count, picture):
    """Atoms, not bits: of a rank, the signs come last, and none of its atoms is there without them."""
    codec = kind(count=count, atoms=256, steps=6, free_steps=0, grid=4, prior=Wiener())
    data = codec.encode(picture)
    bits, atom = opened(codec, data).script.steps[-1].bits, 1 if kind is TurboDDCM else 9
    before = codec.decode(data[: -bits // 8]).picture
    for missing in (bits // 8 - 1, math.ceil(count * atom / 16) + 1):
        assert np.array_equal(codec.decode(data[:-missing]).picture, before)
    assert not np.array_equal(codec.decode(data[: -(count * atom // 16)]).picture, before)


@by_codec
def test_steerings_tell_what_share_of_them_arrived(codec, files):
    """All with all bits, none without any; with the first half of the bits what can be read of them, and no more."""
    for step, bits in opened(codec, files[codec.name]).steps():
        shares = []
        for arrived in (0, step.bits // 2, step.bits):
            known = np.arange(step.bits) < arrived
            shares.append(step.protocol.read(bits[None], known).share)
        assert (shares[0], shares[2]) == (0, 1)
        assert 0 <= shares[1] <= 0.5


@pytest.mark.parametrize("share", [-1, 2, math.nan, math.inf, -1e-9, 1 + 1e-9])
@pytest.mark.parametrize("name", ["trellis", "tracks", "diffc", "turbo-ddcm"])
def test_a_share_that_is_none(name, share, files):
    with pytest.raises(SpecError, match=f"{name}: expected upto from 0 to 1, got {share}"):
        flipproof.decode(files[name], upto=share, prior=Wiener())


def test_jpeg_does_not_show_in_part(picture):
    data = JpegCodec().encode(picture)
    assert JpegCodec().decode(data, upto=1.0).status is Status.OK
    with pytest.raises(SpecError, match="jpeg: expected upto 1"):
        flipproof.decode(data, "jpeg", upto=0.5)


def test_a_share_of_no_file_is_a_decode_error():
    with pytest.raises(DecodeError):
        flipproof.decode(b"junk", upto=0.5)


def test_batches_take_a_share_too(files, picture):
    codec = next(codec for codec in PLAIN if codec.name == "robust-diffc")
    data, other = files[codec.name], codec.encode(picture[::-1])
    for one, of_many in zip((data, other), codec.decode_many([data, other], upto=0.6), strict=True):
        assert psnr(codec.decode(one, upto=0.6).picture, of_many.picture) > 50
