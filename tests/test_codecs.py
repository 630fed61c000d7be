from __future__ import annotations

import re
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conftest import photograph
from contracts import check_codec
from flipproof import registry
from flipproof.bits import BitReader, BitWriter
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.ddcm import DDCM
from flipproof.codec.diffc import DiffC, RobustDiffC
from flipproof.codec.jpeg import JpegCodec
from flipproof.codec.script import Common, write_common
from flipproof.codec.tracks import TracksCodec
from flipproof.codec.trellis import TrellisCodec
from flipproof.codec.turbo import HybridTurboDDCM, RobustTurboDDCM, TurboDDCM
from flipproof.container import pack, packed_size, unpack
from flipproof.errors import DecodeError, RateError, SpecError, UnknownNameError
from flipproof.metric.psnr import psnr
from flipproof.prior.base import PIXELS, Space
from flipproof.prior.small import SmallPrior
from flipproof.protection.plan import UNPROTECTED
from flipproof.received import Received
from flipproof.result import Status

CHAINS = [TrellisCodec, TracksCodec, TurboDDCM, RobustTurboDDCM, HybridTurboDDCM, DDCM, DiffC, RobustDiffC]
SMALL = [
    (TrellisCodec(bpp=0.6), 23),
    (TrellisCodec(bpp=0.6, steps_per_octave=1, window=4, threshold=1.0, protect="none"), 20),
    (TracksCodec(bpp=0.6), 23),
    (TracksCodec(bpp=0.6, steps_per_octave=1, track_bits=4, threshold=1.0, protect="none"), 20),
    (TracksCodec(bpp=0.6, reconstruction="sharp", precision="bfloat16"), 18),
    (TurboDDCM(bpp=0.6, steps=8, free_steps=1, atoms=256, grid=4), 14),
    (TurboDDCM(bpp=0.4, steps=8, atoms=512, grid=4, codebook="gaussian"), 14),
    (RobustTurboDDCM(bpp=0.6, steps=8, free_steps=2, atoms=256, grid=4, reconstruction="mse"), 14),
    (HybridTurboDDCM(bpp=0.6, steps=8, free_steps=2, atoms=256, grid=4, alone=3), 14),
    (DDCM(bpp=0.3, steps=24, atoms=256, grid=4), 14),
    (DDCM(count=3, steps=12, atoms=64, grid=4, coefficient_bits=1, codebook="gaussian"), 9),
    (DiffC(bpp=0.5, steps=12, grid=4), 16),
    (DiffC(bpp=0.4, steps=9, seed_bits=8, grid=2, codebook="gaussian"), 14),
    (RobustDiffC(bpp=0.5, steps=12, seed_bits=12, grid=4), 16),
    (JpegCodec(quality=50), 25),
]


@pytest.mark.parametrize(("codec", "least_db"), SMALL, ids=[str(codec) for codec, _ in SMALL])
def test_contract(codec, least_db, photo):
    check_codec(codec, photo, least_db)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (3, 200), (64, 64), (65, 33)])
@pytest.mark.parametrize("name", ["tracks", "jpeg"])
def test_any_size_round_trips_at_the_default_rate(name, size):
    picture = photograph(*size)
    codec = registry.codec(name)
    assert codec.decode(codec.encode(picture)).picture.shape == picture.shape


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (64, 64), (65, 33)])
@pytest.mark.parametrize("name", ["turbo-ddcm", "robust-turbo-ddcm", "hybrid-turbo-ddcm"])
def test_any_size_round_trips_with_fixed_counts(name, size):
    picture = photograph(*size)
    codec = registry.codec(name, count=2, atoms=64, steps=5, free_steps=1, grid=2)
    assert codec.decode(codec.encode(picture)).picture.shape == picture.shape


def test_tracks_of_gaussian_atoms_do_as_well_as_rotated_ones():
    picture = photograph(48, 48)
    codecs = [TracksCodec(bpp=1.0, codebook=kind) for kind in ("rotated", "gaussian")]
    quality = [psnr(codec.decode(codec.encode(picture)).picture, picture) for codec in codecs]
    assert quality[0] == pytest.approx(quality[1], abs=1.0)


@pytest.mark.parametrize("bpp", [0.15, 0.4, 1.0, 2.0])
@pytest.mark.parametrize("kind", [TrellisCodec, TracksCodec])
def test_files_have_the_rate_within_one_percent(kind, bpp):
    picture = photograph(128, 192)
    size = len(kind(bpp=bpp).encode(picture))
    assert 0.99 * bpp <= 8 * size / (128 * 192) <= bpp


@pytest.mark.parametrize(
    "codec", [TurboDDCM(bpp=0.5, grid=2), RobustTurboDDCM(bpp=0.5, grid=2), JpegCodec(bpp=1.0)], ids=str
)
def test_other_codecs_stay_at_or_below_the_rate(codec):
    picture = photograph(128, 192)
    assert 0.9 * codec.bpp <= 8 * len(codec.encode(picture)) / (128 * 192) <= codec.bpp


@pytest.mark.parametrize(
    ("codec", "size"),
    [
        (TrellisCodec(bpp=2.5, steps_per_octave=7), (96, 96)),
        (TrellisCodec(bpp=1.0, window=12, protect="none"), (64, 64)),
        (TrellisCodec(bpp=1.0, window=2), (96, 96)),
        (TracksCodec(bpp=3.0, steps_per_octave=7), (96, 96)),
        (TracksCodec(bpp=1.5, protect="uniform[t=28]"), (96, 96)),
        (TracksCodec(bpp=0.4, protect="uep[ber=0.03]"), (64, 64)),
        (TracksCodec(bpp=1.0, track_bits=15), (96, 96)),
        (TracksCodec(bpp=1.0, track_bits=0, threshold=0.0625), (64, 64)),
    ],
    ids=str,
)
def test_odd_parameters_still_fill_the_file(codec, size):
    picture = photograph(*size)
    data = codec.encode(picture)
    target = codec.bpp * size[0] * size[1] / 8
    assert max(0.97 * target, target - 3) <= len(data) <= target
    assert codec.decode(data).picture.shape == picture.shape


def test_a_picture_of_nothing_but_detail_is_reached():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    codec = TracksCodec(bpp=2.0, protect="none")
    data = codec.encode(stripes)
    assert len(data) > 0.95 * 2.0 * 64 * 64 / 8
    assert psnr(codec.decode(data).picture, stripes) > psnr(np.full_like(stripes, 128), stripes) + 0.5


@pytest.mark.parametrize("protect", ["none", "uep", "uniform[t=64]"])
def test_the_smallest_files_decode_or_say_what_it_takes(protect):
    picture = photograph(64, 64)
    for size in range(120, 150):
        codec = TracksCodec(bpp=8.001 * size / 4096, protect=protect)
        with suppress(RateError):
            data = codec.encode(picture)
            assert len(data) <= size
            assert codec.decode(data).status is Status.OK
            assert size >= 128


def test_more_bits_give_a_better_picture(photo):
    quality = [psnr(c.decode(c.encode(photo)).picture, photo) for c in map(TracksCodec, (0.2, 0.5, 1.2, 3.0))]
    assert quality == sorted(quality)


def test_a_picture_that_needs_fewer_bits_gives_a_smaller_file():
    gray = np.full((64, 64, 3), 128, np.uint8)
    codec = TracksCodec(bpp=8)
    data = codec.encode(gray)
    assert len(data) < 64 * 64 * 8 / 8
    assert psnr(codec.decode(data).picture, gray) > 35


@pytest.mark.parametrize("name", ["tracks", "turbo-ddcm", "robust-turbo-ddcm", "jpeg"])
def test_too_low_a_rate_says_what_it_takes(name, photo):
    with pytest.raises(RateError, match="bpp"):
        registry.codec(name, bpp=0.01).encode(photo)


def test_reference_operating_points():
    """512x512, T = 30, N = 5, K = 16384: 24 steps of 1091 (M = 114), 1095 (M = 73), 1092 bits (M = 106, B = 10)."""
    flat = np.full((512, 512, 3), 90, np.uint8)
    points = (TurboDDCM(count=114), 26184), (RobustTurboDDCM(count=73), 26280), (HybridTurboDDCM(count=106), 24 * 1092)
    for codec, bits in points:
        file = unpack(codec.encode(flat))
        _, script = type(codec).open(file)
        assert sum(step.bits for step in script.steps) == bits
        assert sum(step.bits > 0 for step in script.steps) == 24


def test_damage_is_reported(photo):
    codec = TracksCodec(bpp=0.6, protect="none")
    data = codec.encode(photo)
    header_flip = bytes([data[0] ^ 1]) + data[1:]
    result = codec.decode(header_flip)
    assert (result.status, result.damage.repaired_bits) == (Status.OK, 1)
    assert (result.picture == codec.decode(data).picture).all()
    payload_flip = data[:-1] + bytes([data[-1] ^ 128])
    result = codec.decode(payload_flip)
    assert (result.status, result.damage.payload_intact) == (Status.DEGRADED, False)
    result = codec.decode(data[:-100])
    assert (result.status, result.damage.missing_bits) == (Status.DEGRADED, 800)
    for cut in range(1, 8):
        assert codec.decode(data[:-cut]).status is Status.DEGRADED
    result = codec.decode(data + b"tail")
    assert (result.status, result.damage.notes) == (Status.OK, ("4 extra bytes",))


def test_truncation_degrades_gently(photo):
    codec = TracksCodec(bpp=1.0, protect="none")
    data = codec.encode(photo)
    quality = [psnr(r.picture, photo) for r in codec.decode_many([data[:n] for n in (600, 900, 1200, len(data))])]
    assert quality == sorted(quality)
    assert quality[0] > 15


def test_damage_of_protected_files_is_reported(photo):
    """Block by block and step by step: nothing but repairs, then blocks beyond repair, then lost bits."""
    codec = TracksCodec(bpp=0.6, protect="uniform[t=20]")
    data = codec.encode(photo)
    repaired = codec.decode(BinarySymmetricChannel(5e-3).corrupt(data, np.random.default_rng(0)))
    assert (repaired.status, repaired.damage.failed_blocks) == (Status.OK, 0)
    assert repaired.damage.repaired_bits > 20
    assert 0 < sum(step.repaired for step in repaired.damage.steps) < repaired.damage.repaired_bits
    assert (repaired.picture == codec.decode(data).picture).all()
    damaged = codec.decode(BinarySymmetricChannel(4e-2).corrupt(data, np.random.default_rng(0)))
    assert (damaged.status, damaged.damage.payload_intact) == (Status.DEGRADED, False)
    assert damaged.damage.failed_blocks > 0
    assert 0.2 < damaged.damage.share("suspect") <= 1
    assert damaged.damage.share("lost") == 0
    llr = np.where(np.unpackbits(np.frombuffer(data, np.uint8)), -np.inf, np.inf).astype(np.float32)
    llr[np.random.default_rng(0).random(len(llr)) < 0.4] = 0
    lost = codec.decode_many([Received(data, llr)])[0]
    assert lost.status is Status.DEGRADED
    assert 0 <= lost.damage.missing_bits - sum(step.lost for step in lost.damage.steps) < 8
    assert lost.damage.share("lost") > 0.1


@pytest.mark.parametrize("run", [-30, -1, 2, 25])
def test_protected_files_survive_lost_and_inserted_bytes(run, photo):
    """Wherever they are; under one code for all, the picture is the same."""
    codec = TracksCodec(bpp=0.6, protect="uniform[t=20]")
    data = codec.encode(photo)
    places = np.random.default_rng(0).integers(12, len(data) - 30, 4)
    files = [data[:i] + bytes(max(0, run)) + data[i + max(0, -run) :] for i in places]
    for result in codec.decode_many([data, *files]):
        assert (result.status, result.damage.missing_bits) == (Status.OK, 0)
        assert (result.picture == codec.decode(data).picture).all()


def test_a_protected_file_cut_short_loses_a_little_everywhere(photo):
    codec = TracksCodec(bpp=1.0)
    data = codec.encode(photo)
    assert codec.decode(data[: int(0.95 * len(data))]).status is Status.OK
    result = codec.decode(data[: int(0.85 * len(data))])
    assert result.status is Status.DEGRADED
    assert result.damage.payload_intact is False
    assert 0 < result.damage.missing_bits < 8 * len(data)
    assert psnr(result.picture, photo) > psnr(codec.decode(data).picture, photo) - 4
    assert "bytes lost" in str(result.damage)


def test_protection_pays_at_high_error_rates(photo):
    """Mean over 8 damaged copies at 1e-2; without protection the first steps are hit and the picture is lost."""
    means = []
    for codec in (TracksCodec(bpp=1.0), TracksCodec(bpp=1.0, protect="none")):
        data = codec.encode(photo)
        files = [BinarySymmetricChannel(1e-2).corrupt(data, np.random.default_rng(i)) for i in range(8)]
        means.append(np.mean([psnr(r.picture, photo) for r in codec.decode_many(files)]))
    assert means[0] > means[1] + 1


def test_noise_fits_into_a_jpeg():
    noise = np.random.default_rng(0).integers(0, 2, (256, 256, 3)).astype(np.uint8) * 255
    assert JpegCodec().decode(JpegCodec(quality=94).encode(noise)).picture.shape == noise.shape


def test_jpeg_conceals_nothing_it_knows_of(photo):
    data = JpegCodec().encode(photo)
    assert JpegCodec().decode_many([data[: len(data) // 2]])[0].error
    with pytest.raises(DecodeError):
        JpegCodec().decode(b"\xff\xd8\xff")


def crafted(picture, change):
    """A file whose header fields were changed and sealed again."""
    file = unpack(TracksCodec(bpp=0.6).encode(picture))
    return pack(change(file.fields), bytes(600), file.plan)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: bytes([77]) + f[1:], "codec 77"),
        (lambda f: f[:1] + b"\0\0\0\0" + f[5:], "expected the prior 00000000 of the file, got"),
        (lambda f: f[:5] + b"\0\0" + f[7:], "sides from 1"),
        (lambda f: f[:5] + b"\xff\xff\xff\xff" + f[9:], "at most 16777216 pixels"),
        (lambda f: f[:11], "header ends too early"),
        (lambda f: f[:13] + bytes(20), "no possible chain"),
        (lambda f: f[:19], "header ends too early"),
        (lambda f: b"", "header ends too early"),
    ],
)
def test_sealed_nonsense_is_a_decode_error(change, text, photo):
    result = TracksCodec().decode_many([crafted(photo, change)])[0]
    assert result.status is Status.FAILED
    assert re.search(text, result.error)


@pytest.mark.parametrize(
    ("space", "text"),
    [(Space(4, 1, 0.5), "expected a prior of Space.channels=4"), (Space(3, 8, 1.0), "expected a prior of Space.*=8")],
)
def test_a_file_of_another_space_is_refused(space, text):
    common = write_common("robust-turbo-ddcm", Common(24, 40, space, "rotated", 0, SmallPrior.load().fingerprint))
    for value, bits in ((8, 10), (0, 10), (6, 5), (3, 13), (0, 3)):
        common.write("field", value, bits)
    result = RobustTurboDDCM().decode_many([pack(common.getvalue(), b"", UNPROTECTED)])[0]
    assert result.status is Status.FAILED
    assert re.search(text, result.error)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=20, max_size=60), st.sampled_from(CHAINS))
def test_any_codec_fields_give_a_bounded_script(fields, kind):
    """Whatever a sealed header says of a 64x64 picture, its script fits the picture and a bounded number of steps."""
    try:
        script = kind.read_script(BitReader(fields), Common(64, 64, PIXELS, "rotated"))
    except DecodeError:
        return
    assert 1 <= len(script.steps) <= 1023
    assert all(0 <= step.bits <= 21 * 3 * 128 * 128 for step in script.steps)


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=8, max_size=40), st.binary(max_size=300), st.sampled_from(CHAINS))
def test_sealed_random_headers_decode_or_fail(fields, rest, kind):
    """Fields that no encoder wrote, in an intact container: a result whatever they say."""
    common = write_common(kind.name, Common(24, 40, PIXELS, "rotated", 0, SmallPrior.load().fingerprint))
    own = BitWriter()
    own.write("own", int.from_bytes(fields, "big"), 8 * len(fields))
    common.append(own)
    result = kind().decode_many([pack(common.getvalue(), rest, UNPROTECTED)])[0]
    assert (result.image is None) == (result.status is Status.FAILED)


@pytest.mark.parametrize(("steps", "atoms", "count"), [(1000, 2**16, 1), (1000, 2**14, 8), (30, 2**14, 5000)])
def test_a_header_cannot_ask_for_hours(steps, atoms, count):
    writer = BitWriter()
    for value, bits in ((steps, 10), (0, 10), (atoms.bit_length() - 1, 5), (count, 13), (0, 3)):
        writer.write("field", value, bits)
    with pytest.raises(DecodeError, match="too long"):
        TurboDDCM.read_script(BitReader(writer.getvalue()), Common(4096, 4096, PIXELS, "rotated"))


def test_file_size_is_as_described(photo):
    data = TracksCodec(bpp=0.6).encode(photo)
    file = unpack(data)
    _, script = TracksCodec.open(file)
    assert packed_size(len(file.fields), script.payload_size, file.plan) == len(data)


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        ("nope", UnknownNameError, "unknown codec 'nope'; known: avif, bpg, ddcm, diffc"),
        ("tracks[", SpecError, "expected brackets that match"),
        ("tracks[bpp]", SpecError, "expected parameter=value"),
        ("tracks[bpp=1,bpp=2]", SpecError, "once each"),
        ("tracks[speed=1]", SpecError, "no parameter 'speed'; it has: bpp"),
        ("tracks[bpp=fast]", SpecError, "expected bpp to be float"),
        ("tracks[bpp=-1]", SpecError, "expected bpp above 0"),
        ("tracks[bpp=nan]", SpecError, "expected bpp above 0"),
        ("tracks[threshold=0.3]", SpecError, "multiple of 1/16"),
        ("tracks[threshold=inf]", SpecError, "multiple of 1/16"),
        ("tracks[threshold=nan]", SpecError, "multiple of 1/16"),
        ("tracks[device=nowhere]", SpecError, "expected a device that is there"),
        ("turbo-ddcm[atoms=500]", SpecError, "expected atoms a power of two from 2 to"),
        (
            "robust-turbo-ddcm[atoms=64,count=65]",
            SpecError,
            "expected count from 1 to 4096 and at most 64 atoms, got 65",
        ),
        ("ddcm[steps=1]", SpecError, "expected steps from 2 to 1000, got 1"),
        ("diffc[steps=163]", SpecError, "expected steps from 2 to 162, got 163"),
        ("diffc[seed_bits=2]", SpecError, "expected seed_bits from 3 to 16, got 2"),
        ("tracks[codebook=random]", SpecError, "expected codebook one of rotated, gaussian, got random"),
        (
            "tracks[precision=int4]",
            SpecError,
            "expected precision one of auto, float32, float16, bfloat16, int8, got int4",
        ),
        ("tracks[reconstruction=best]", SpecError, "expected reconstruction one of none, mse, crisp, sharp, got best"),
        ("hybrid-turbo-ddcm[alone=-1]", SpecError, "from 0 to 4096"),
        ("tracks[track_bits=16]", SpecError, "from 0 to 15"),
        ("trellis[window=1]", SpecError, "expected window from 2 to 15, got 1"),
        ("trellis[window=16]", SpecError, "expected window from 2 to 15, got 16"),
        ("trellis[codebook=gaussian]", SpecError, "expected codebook rotated, got gaussian"),
        ("trellis[track_bits=8]", SpecError, "no parameter 'track_bits'"),
        ("turbo-ddcm[free_steps=29]", SpecError, "steps - 2"),
        ("turbo-ddcm[grid=3]", SpecError, "power of two"),
        ("jpeg[quality=0]", SpecError, "from 1 to 95"),
        ("jpeg[bpp=0]", SpecError, "above 0"),
        ("jpeg[bpp=inf]", SpecError, "at most 24"),
    ],
)
def test_bad_spellings_say_what_was_expected(spec, error, text):
    with pytest.raises(error, match=text.replace("[", r"\[")):
        registry.codec(spec)


def test_pillow_images_and_paths_are_taken(photo, tmp_path):
    codec = TracksCodec(bpp=0.6)
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert codec.encode(photo) == codec.encode(Image.fromarray(photo)) == codec.encode(tmp_path / "a.png")
