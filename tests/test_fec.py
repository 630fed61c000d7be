from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import family
import flipproof
from conftest import photograph
from contracts import check_any_bytes, check_batches, check_split, check_weights
from flipproof import registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.cli import app
from flipproof.codec.base import Codec
from flipproof.codec.fec import FecCodec
from flipproof.codec.jpeg import JpegCodec
from flipproof.errors import DecodeError, RateError, SpecError, UnknownNameError, WeightsError
from flipproof.metric.psnr import psnr
from flipproof.protection.bch import BCH
from flipproof.protection.interleave import LONGEST
from flipproof.protection.ldpc import LDPC
from flipproof.protection.reed_solomon import ReedSolomon
from flipproof.received import Received
from flipproof.result import Damage, DecodeResult, Status

SPELLINGS = [
    "jpeg[quality=50]+fec[bch,t=7]",
    "jpeg[quality=50]+fec[rs,data=60,parity=20]",
    "jpeg[quality=50]+fec[ldpc,data=100,parity=50]",
    "jpeg[quality=50]+fec[convolutional,data=64]",
    "jpeg[quality=50]+fec[rs,data=100,parity=10]+fec[bch,t=3]",
]
STRONG = FecCodec(JpegCodec(quality=50), BCH(20))


class Bare(Codec):
    """Bytes as they are; a picture of one row holds them."""

    name = "bare"

    def __init__(self) -> None:
        self.received: list[bytes | Received] = []

    def encode(self, image, priority=None):
        return bytes(np.asarray(image)[0, :, 0])

    def decode_many(self, files, upto=1.0):
        self.received = list(files)
        return [DecodeResult(np.zeros((1, 1, 3), np.uint8), Status.OK, Damage(), self.name) for _ in files]


@dataclass(frozen=True)
class Exact(Codec):
    """As many zero bytes as the rate asks for."""

    name: ClassVar[str] = "exact"
    bpp: float = 1.0

    def encode(self, image, priority=None):
        return bytes(int(self.bpp * image.shape[0] * image.shape[1] / 8))

    def decode_many(self, files, upto=1.0):
        raise NotImplementedError


def corrupt(data: bytes, ber: float, seed: int = 0) -> bytes:
    return BinarySymmetricChannel(ber).corrupt(data, np.random.default_rng(seed))


def as_picture(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)[None, :, None].repeat(3, axis=2)


def soft(data: bytes, reliability: float) -> np.ndarray:
    return (reliability * (1 - 2.0 * np.unpackbits(np.frombuffer(data, np.uint8)))).astype(np.float32)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_contract(spelling, photo):
    codec = registry.codec(spelling)
    data = codec.encode(photo)
    assert data == codec.encode(photo)
    plain = JpegCodec(quality=50)
    result = codec.decode(data)
    assert (result.status, result.damage, result.codec) == (Status.OK, Damage(), codec.name)
    assert (result.picture == plain.decode(plain.encode(photo)).picture).all()
    assert registry.codec(str(codec)) == codec
    assert hash(registry.codec(str(codec))) == hash(codec)
    assert json.loads(json.dumps(codec.get_config()))["codec"] == codec.name == registry.parse(spelling)[0]
    check_split(codec, data)
    check_weights(codec)
    check_batches(codec, data)
    check_any_bytes(codec, data)


@pytest.mark.parametrize("name", family.FREE)
def test_every_codec_of_the_registry_can_be_protected(name):
    inner = {codec.name: codec for codec in family.CHEAP}.get(name) or registry.codec(name)
    codec, picture = FecCodec(inner, BCH(20)), photograph(64, 64)
    data = codec.encode(picture)
    assert len(data) > len(inner.encode(picture))
    result = codec.decode(corrupt(data, 5e-3))
    assert result.status is Status.OK
    assert result.damage.repaired_bits > 0
    assert (result.picture == inner.decode(inner.encode(picture)).picture).all()
    check_any_bytes(codec, data)


@pytest.mark.parametrize("spelling", SPELLINGS[:4])
def test_flips_are_repaired_and_counted(spelling, photo):
    codec = registry.codec(spelling)
    data = codec.encode(photo)
    received = corrupt(data, 1e-3)
    flips = (int.from_bytes(data, "big") ^ int.from_bytes(received, "big")).bit_count()
    result = codec.decode(received)
    assert (result.picture == codec.decode(data).picture).all()
    assert (result.status, result.damage.failed_blocks) == (Status.OK, 0)
    assert result.damage.repaired_bits == flips > 0


def test_bursts_are_scattered(photo):
    """A burst of 96 bits, where a block repairs 20 flips: hopeless but for the interleaver."""
    codec = STRONG.with_parameters(quality=90)
    data = codec.encode(photo)
    start = len(data) // 3
    received = data[:start] + bytes(255 - byte for byte in data[start : start + 12]) + data[start + 12 :]
    result = codec.decode(received)
    assert result.status is Status.OK
    assert 85 <= result.damage.repaired_bits <= 96  # the last byte of a block has bits that mean nothing


def test_blocks_beyond_repair_are_reported_and_handed_on(photo):
    inner = Bare()
    codec = FecCodec(inner, ReedSolomon(data=50, parity=4))
    data = codec.encode(as_picture(bytes(200)))
    received = corrupt(data, 0.02)
    result = codec.decode_many([received])[0]
    assert result.status is Status.DEGRADED
    assert 0 < result.damage.failed_blocks <= 4
    kept = np.unpackbits(np.frombuffer(inner.received[0], np.uint8))
    assert 0 < kept.sum() < 0.05 * kept.size


def test_what_the_receiver_knows_reaches_code_and_codec():
    """Erased bits that hard decisions could not repair; the inner codec gets certainty, or what was received."""
    inner = Bare()
    codec = FecCodec(inner, ReedSolomon(data=50, parity=10))
    text = bytes(range(150))
    data = codec.encode(as_picture(text))
    llr = soft(data, 5.0)
    llr[np.random.default_rng(0).choice(llr.size, 18, replace=False)] = 0
    known = (llr != 0).astype(np.uint8)
    hidden = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8)) ^ (1 - known)).tobytes()
    result = codec.decode_many([Received(hidden, llr)])[0]
    assert (result.status, result.damage.failed_blocks) == (Status.OK, 0)
    assert isinstance(inner.received[0], Received)
    assert inner.received[0].data == text
    assert (inner.received[0].llr == soft(text, math.inf)).all()

    nothing = Received(bytes(len(data)), np.zeros_like(llr))
    result = codec.decode_many([nothing])[0]
    assert (result.status, result.damage.failed_blocks) == (Status.DEGRADED, 3)
    assert not inner.received[0].llr.any()


def test_a_batch_of_bytes_and_soft_files_is_decoded_one_by_one(photo):
    codec = FecCodec(JpegCodec(quality=50), LDPC(data=64, parity=32))
    files = [codec.encode(photo), codec.encode(photo[:50])]
    files += [corrupt(files[0], 1e-2), b"", Received(files[1], soft(files[1], 3.0)), b"\x00" * 7]
    for one, of_many in zip((codec.decode_many([file])[0] for file in files), codec.decode_many(files), strict=True):
        assert (one.status, one.damage, one.error) == (of_many.status, of_many.damage, of_many.error)
        assert np.array_equal(one.image, of_many.image)
    assert codec.decode_many([]) == []


@settings(max_examples=60)
@given(st.integers(1, 4000), st.integers(1, 255), st.integers(2, 100))
def test_the_layout_follows_from_the_length(length, size, parity):
    """Blocks as few as possible and of equal size but for one byte; a file of that length is read the same."""
    size = min(size, 255 - parity)
    codec = FecCodec(Bare(), ReedSolomon(data=size, parity=parity))
    sizes = codec._layout(length + -(-length // size) * parity)
    assert sum(sizes) == length
    assert len(sizes) == -(-length // size)
    assert 0 <= max(sizes) - min(sizes) <= 1
    assert list(sizes) == sorted(sizes, reverse=True)
    assert codec._room(length + len(sizes) * parity) == length
    for total in range(length, length + 5):
        room = codec._room(total)
        assert room + -(-room // size) * parity <= total
        assert room + 1 + -(-(room + 1) // size) * parity > total
        assert not codec._layout(total) or sum(codec._layout(total)) == total - len(codec._layout(total)) * parity


@settings(max_examples=15)
@given(
    st.binary(min_size=1, max_size=400), st.sampled_from(["bch,t=7", "rs,data=30,parity=6", "ldpc,data=40,parity=20"])
)
def test_any_bytes_come_back(data, code):
    inner = Bare()
    codec = registry.codec(f"jpeg+fec[{code}]").with_parameters(inner=inner)
    coded = codec.encode(as_picture(data))
    result = codec.decode_many([coded])[0]
    assert inner.received == [data]
    assert (result.status, result.damage) == (Status.OK, Damage())


def test_the_file_is_what_its_specification_says():
    """Built by hand: two blocks of a Reed-Solomon code, then the permutation of all bits."""
    from flipproof.seeds import derive

    codec = FecCodec(Bare(), ReedSolomon(data=4, parity=2))
    text = b"atoms"
    blocks = [np.frombuffer(part, np.uint8) for part in (text[:3], text[3:])]
    coded = b"".join(np.packbits(codec.code.encode(np.unpackbits(block)[None])).tobytes() for block in blocks)
    assert (coded[:3], coded[5:7], len(coded)) == (b"ato", b"ms", 9)
    bits = np.unpackbits(np.frombuffer(coded, np.uint8))
    words = np.random.Philox(key=derive(purpose="interleaver", seed=0, size=72)).random_raw(72)
    permuted = bits[np.argsort(words, kind="stable")]
    assert codec.encode(as_picture(text)) == np.packbits(permuted).tobytes()


@pytest.mark.parametrize("code", [BCH(7), ReedSolomon(data=100, parity=30), LDPC(data=64, parity=64)], ids=str)
@pytest.mark.parametrize("bpp", [0.5, 0.8, 1.7])
def test_the_whole_file_meets_the_rate(code, bpp):
    """All of it but for the parity of one block, with an inner codec that meets its own to the byte."""
    codec = FecCodec(Exact(), code).with_rate(bpp)
    assert codec == FecCodec(Exact(), code, bpp=bpp)
    for height in range(1, 60):
        target = int(bpp * height * 128 / 8)
        if not codec._room(target):
            continue
        size = len(codec.encode(np.zeros((height, 128, 3), np.uint8)))
        assert target - code.parity_bits // 8 <= size <= target


def test_jpeg_takes_the_best_quality_that_fits(photo):
    codec = registry.codec("jpeg+fec[rs]", bpp=1.5)
    size = 1.5 * photo.shape[0] * photo.shape[1] / 8
    assert len(codec.encode(photo)) <= size
    sizes = [len(FecCodec(JpegCodec(quality=q), ReedSolomon()).encode(photo)) for q in range(1, 96)]
    assert max(s for s in sizes if s <= size) <= len(codec.encode(photo)) <= size


@pytest.mark.parametrize("bpp", [1e-6, 0.02])
def test_too_low_a_rate_says_what_is_left(bpp, photo):
    with pytest.raises(RateError, match=r"jpeg\+fec: .* without parity"):
        registry.codec("jpeg+fec[rs]", bpp=bpp).encode(photo)


@pytest.mark.parametrize("bpp", [0, -1, math.nan, math.inf, 300])
def test_rates_out_of_range_are_refused(bpp):
    with pytest.raises(SpecError, match="bpp"):
        STRONG.with_rate(bpp)


def test_parameters_reach_codec_and_stage():
    codec = registry.codec("jpeg+fec[bch,t=7,bpp=0.5]", quality=20)
    assert codec == FecCodec(JpegCodec(quality=20), BCH(7), bpp=0.5)
    assert codec.with_parameters(quality=30, bpp=None) == FecCodec(JpegCodec(quality=30), BCH(7))
    assert codec.with_parameters(code=BCH(8)).code == BCH(8)
    with pytest.raises(SpecError, match="no parameter 'atoms'"):
        codec.with_parameters(atoms=3)
    tracks = registry.codec("tracks[bpp=0.5]+fec[rs]", reconstruction="sharp", prior=None)
    assert tracks.inner == registry.codec("tracks[bpp=0.5]", reconstruction="sharp")
    assert replace(tracks, bpp=1.0) == registry.codec("tracks[bpp=0.5]+fec[rs]", reconstruction="sharp", bpp=1)


@pytest.mark.parametrize(
    ("spelling", "parsed"),
    [
        ("jpeg+fec[bch,t=7]", ("jpeg+fec", {"fec": "bch,t=7"})),
        ("jpeg[quality=3] + fec[ rs ]", ("jpeg+fec", {"quality": "3", "fec": "rs"})),
        ("jpeg+fec[rs]+fec[bch]", ("jpeg+fec+fec", {"fec": "rs + bch"})),
        ("tracks[protect=uep[ber=1e-2,x=[1,2]],bpp=1]", ("tracks", {"protect": "uep[ber=1e-2,x=[1,2]]", "bpp": "1"})),
        ("tracks[prior=a+fec[rs]]", ("tracks", {"prior": "a+fec[rs]"})),
        ("bsc[ber=1e+0]", ("bsc", {"ber": "1e+0"})),
        ("a+b", ("a+b", {})),
    ],
)
def test_spellings_are_split_outside_brackets(spelling, parsed):
    assert registry.parse(spelling) == parsed


@pytest.mark.parametrize(
    "spelling",
    [
        "jpeg+fec",
        "jpeg+fec[]",
        "jpeg+fec[t=7]",
        "jpeg+fec[bch,t]",
        "jpeg+fec[bch,t=7,t=8]",
        "jpeg+fec[bch,bpp=1,bpp=2]",
        "jpeg+fec[bch,bpp=much]",
        "jpeg+fec[bch]]",
        "jpeg+fec[[bch]",
        "+fec[bch]",
        "jpeg+fec[turbo]",
        "jpeg+fec[rs,data=300]",
        "jpeg+fec[rs,quality=3]",
        "jpeg[quality=500]+fec[rs]",
        "fec[bch]",
        "jpeg+fec[bch]x",
    ],
)
def test_malformed_spellings_are_refused(spelling):
    with pytest.raises(SpecError):
        registry.codec(spelling)


def test_unknown_names_are_told_apart():
    with pytest.raises(UnknownNameError, match="unknown code 'turbo'; known: bch"):
        registry.codec("jpeg+fec[turbo]")
    with pytest.raises(UnknownNameError, match="unknown codec 'gif'"):
        registry.codec("gif+fec[rs]")


def test_errors_of_the_inner_codec_keep_their_type():
    picture = photograph(64, 64)
    codec = FecCodec(family.CHEAP[0], BCH(20))
    data = codec.encode(picture)
    other = codec.with_parameters(prior=family.Wiener(fingerprint=2))
    with pytest.raises(WeightsError):
        other.decode(data)
    assert other.decode_many([data])[0].status is Status.FAILED
    with pytest.raises(DecodeError, match="no file of this code has 12 bytes"):
        STRONG.decode(bytes(12))


def test_parts_of_a_file_are_refused(photo):
    with pytest.raises(SpecError, match="upto"):
        STRONG.decode(STRONG.encode(photo), upto=0.5)
    with pytest.raises(SpecError, match="upto"):
        STRONG.decode_many([], upto=0.5)


def test_files_have_a_limit(monkeypatch):
    monkeypatch.setattr("flipproof.codec.fec.LONGEST", 800)
    codec = FecCodec(Bare(), ReedSolomon())
    with pytest.raises(RateError, match="at most 100 bytes"):
        codec.encode(as_picture(bytes(90)))
    assert codec._layout(101) == ()
    assert codec._layout(100) == (68,)
    assert LONGEST == 2**27


def test_priorities_reach_the_inner_codec():
    picture = photograph(64, 64)
    codec = FecCodec(family.CHEAP[0], BCH(4))
    priority = np.ones((64, 64))
    priority[:32] = 0
    assert codec.encode(picture, priority) != codec.encode(picture)
    with pytest.raises(SpecError, match="priority"):
        STRONG.encode(picture, priority)


def test_a_quality_can_be_asked_for(photo):
    data = flipproof.encode(photo, codec="jpeg+fec[rs]", psnr=28)
    decoded = flipproof.decode(data, codec="jpeg+fec[rs]").picture
    assert psnr(decoded, photo) >= 28


def test_the_command_line_takes_stages(tmp_path, photo):
    picture, file, damaged, shown = (tmp_path / name for name in ("a.png", "a.fec", "b.fec", "b.png"))
    Image.fromarray(photo).save(picture)
    codec = ["--codec", "jpeg+fec[bch,t=20]"]
    run = CliRunner()
    assert (
        run.invoke(app, ["encode", str(picture), str(file), *codec, "--bpp", "2"], catch_exceptions=False).exit_code
        == 0
    )
    assert 8 * file.stat().st_size <= 2 * photo.shape[0] * photo.shape[1]
    damaged.write_bytes(corrupt(file.read_bytes(), 5e-3))
    result = run.invoke(app, ["decode", str(damaged), str(shown), *codec], catch_exceptions=False)
    assert result.exit_code == 0
    assert "bits repaired" in result.stderr
    assert psnr(np.asarray(Image.open(shown)), photo) > 25


def test_studies_take_stages(tmp_path):
    import studies
    from flipproof.study.plan import Plan

    spellings = ("jpeg[quality=50]", "jpeg[quality=50]+fec[rs,data=100,parity=30]")
    plan = Plan(
        name="fec", pictures=("one",), codecs=spellings, channels=("bsc[ber=0]", "bsc[ber=0.005]"), trials={"least": 2}
    )
    rows = studies.measured(tmp_path, plan, plan.all_codecs(), arrays={"one": photograph(64, 64)})
    kept = [row for row in rows if row["codec"].endswith("+fec[rs,data=100,parity=30]")]
    assert {row["status"] for row in kept} == {"ok"}
    assert len({row["psnr"] for row in kept}) == 1
    assert sum(row["repaired_bits"] for row in kept) > 0
    assert all(row["parity_bits"] > 0 for row in kept)


def test_gaps_that_read_as_zeros_are_erasures():
    """Two lost packets of 64 bytes: far more wrong bits than the code repairs, but few erased ones."""
    codec = registry.codec("jpeg[quality=90]+fec[bch,t=20]")
    data = bytearray(codec.encode(photograph(192, 256)))
    assert len(data) > 1500
    for start in (0, 700):
        data[start : start + 64] = bytes(64)
    result = codec.decode(bytes(data))
    assert result.damage.failed_blocks == 0
    assert result.status is Status.OK
