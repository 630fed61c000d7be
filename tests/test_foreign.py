from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import AvifImagePlugin, Image, ImageFile

from conftest import photograph
from contracts import check_codec
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.avif import AvifCodec
from flipproof.codec.foreign import ForeignCodec
from flipproof.codec.heic import HeicCodec
from flipproof.codec.htj2k import Htj2kCodec, conceal_htj2k
from flipproof.codec.jpeg import JpegCodec
from flipproof.codec.jpeg2000 import Jpeg2000Codec
from flipproof.codec.jpegxl import JpegXlCodec
from flipproof.codec.pillow import conceal_picture, read_picture, write_picture
from flipproof.codec.salvage import (
    leading_scans,
)
from flipproof.codec.webp import WebpCodec
from flipproof.errors import DecodeError, ImageError, MissingExtraError, RateError, SpecError
from flipproof.metric.psnr import psnr
from flipproof.result import Status

GOLDEN = Path(__file__).parent / "golden" / "foreign"
NEEDS = {"jpegxl": "imagecodecs", "htj2k": "imagecodecs", "heic": "pillow_heif"}
PLAIN: list[ForeignCodec] = [
    JpegCodec(),
    Jpeg2000Codec(),
    WebpCodec(),
    AvifCodec(),
    JpegXlCodec(),
    Htj2kCodec(),
    HeicCodec(),
]
VARIANTS: list[tuple[ForeignCodec, float]] = [
    (JpegCodec(quality=60), 26),
    (JpegCodec(quality=60, progressive=True), 26),
    (JpegCodec(quality=60, optimize=False), 26),
    (JpegCodec(quality=60, restart=4, decoding="concealing"), 26),
    (JpegCodec(quality=60, restart=3, progressive=True, chroma="444"), 27),
    (JpegCodec(bpp=2.0, chroma="422"), 26),
    (Jpeg2000Codec(), 35),
    (Jpeg2000Codec(bpp=1.5, block=16, precinct=64, progression="RPCL"), 28),
    (Jpeg2000Codec(bpp=2.0, tile=64, decoding="concealing"), 27),
    (WebpCodec(), 26),
    (WebpCodec(quality=40.5, method=2, decoding="concealing"), 25),
    (AvifCodec(), 28),
    (AvifCodec(chroma="444", speed=9, decoding="concealing"), 28),
    (JpegXlCodec(), 30),
    (JpegXlCodec(distance=3.5, effort=3), 26),
    (Htj2kCodec(), 30),
    (Htj2kCodec(step=2**-4, decoding="concealing"), 26),
    (HeicCodec(), 28),
    (HeicCodec(quality=40, chroma="444", preset="ultrafast", decoding="concealing"), 27),
]
CONCEALING = [codec.with_parameters(decoding="concealing") for codec in PLAIN if codec.concealer]


def need(codec: ForeignCodec) -> None:
    pytest.importorskip(NEEDS.get(codec.name, "PIL"))
    if isinstance(codec, Htj2kCodec) and codec.decoding == "concealing":
        pytest.importorskip("av")


def natural(height: int, width: int) -> np.ndarray:
    """Noise with the spectrum of photographs: amplitudes fall as 1/f."""
    rng = np.random.default_rng(3)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    planes = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / frequency, (height, width)) for _ in "yuv"]
    luma, *chroma = (plane / plane.std() for plane in planes)
    return np.clip(128 + np.stack([45 * luma + 8 * (c - luma) for c in (luma, *chroma)], -1), 0, 255).astype(np.uint8)


def segments(data: bytes) -> dict[int, bytes]:
    """The marker segments of a JPEG or JPEG 2000 header, by the second byte of the marker."""
    found, position = {}, 2
    while data[position] == 0xFF and data[position + 1] not in (0xDA, 0x90):
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        found[data[position + 1]] = data[position + 4 : position + 2 + length]
        position += 2 + length
    return found


@pytest.mark.parametrize(("codec", "least_db"), VARIANTS, ids=[str(codec) for codec, _ in VARIANTS])
def test_contract(codec, least_db, photo):
    need(codec)
    check_codec(codec, photo, least_db)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (3, 200), (64, 64), (65, 33)])
@pytest.mark.parametrize("codec", PLAIN, ids=str)
def test_any_size_round_trips(codec, size):
    need(codec)
    picture = photograph(*size)
    result = codec.decode(codec.encode(picture))
    assert result.picture.shape == picture.shape
    assert psnr(result.picture, picture) > 16


@pytest.mark.parametrize("codec", PLAIN, ids=str)
def test_signatures_tell_the_formats_apart(codec, photo):
    need(codec)
    data = codec.encode(photo)
    matching = [other.name for other in PLAIN if other.signature and other.signature.match(data)]
    assert matching == [codec.name]


@pytest.mark.parametrize(
    ("codec", "share"),
    [
        (JpegCodec(), 0.985),
        (JpegCodec(progressive=True), 0.985),
        (JpegCodec(restart=8), 0.985),
        (Jpeg2000Codec(), 0.94),
        (Jpeg2000Codec(tile=128), 0.94),
        (WebpCodec(), 0.93),
        (AvifCodec(speed=8), 0.9),
        (JpegXlCodec(effort=4), 0.985),
        (Htj2kCodec(), 0.985),
        (HeicCodec(preset="medium"), 0.96),
    ],
    ids=str,
)
def test_rates_are_met(codec, share):
    need(codec)
    picture = natural(192, 256)
    for bpp in (0.6, 1.5):
        size = len(codec.with_rate(bpp).encode(picture))
        assert share * bpp <= 8 * size / picture[..., 0].size <= bpp


@pytest.mark.parametrize("codec", PLAIN, ids=str)
def test_rates_out_of_reach(codec, photo):
    need(codec)
    with pytest.raises(RateError, match=rf"{codec.name}: 0\.001 bpp is too low here"):
        codec.with_rate(0.001).encode(photo)
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    assert codec.decode(codec.with_rate(200).encode(noise)).picture.shape == noise.shape


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: JpegCodec(restart=-1), "restart"),
        (lambda: JpegCodec(restart=2**16), "restart"),
        (lambda: JpegCodec(chroma="411"), "420 or 422 or 444"),
        (lambda: Jpeg2000Codec(quality=5), "quality"),
        (lambda: Jpeg2000Codec(tile=16), "tile"),
        (lambda: Jpeg2000Codec(block=128), "block"),
        (lambda: Jpeg2000Codec(precinct=64), "precinct"),
        (lambda: Jpeg2000Codec(progression="PLRC"), "LRCP"),
        (lambda: WebpCodec(quality=101), "quality"),
        (lambda: WebpCodec(method=7), "method"),
        (lambda: AvifCodec(quality=-1), "quality"),
        (lambda: AvifCodec(speed=11), "speed"),
        (lambda: AvifCodec(chroma="400"), "chroma"),
        (lambda: JpegXlCodec(distance=0), "distance"),
        (lambda: JpegXlCodec(effort=0), "effort"),
        (lambda: JpegXlCodec(decoding="concealing"), "expected decoding strict, got concealing"),
        (lambda: Htj2kCodec(step=2), "step"),
        (lambda: HeicCodec(quality=101), "quality"),
        (lambda: HeicCodec(preset="best"), "preset"),
        (lambda: HeicCodec(chroma="400"), "chroma"),
        (lambda: WebpCodec(decoding="lenient"), "strict or concealing"),
        (lambda: WebpCodec(bpp=0.0), "bpp"),
    ],
)
def test_parameters_out_of_range(make, match):
    with pytest.raises(SpecError, match=match):
        make()


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 95])
def test_jpeg_qualities_are_libjpegs(quality, photo):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=quality, optimize=True)
    assert JpegCodec(quality=quality).encode(photo) == buffer.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_headers_say_what_was_asked(progressive):
    picture = photograph(96, 128)
    data = JpegCodec(progressive=progressive, restart=5, chroma="422").encode(picture)
    found = segments(data)
    assert (0xC2 in found, 0xC0 in found) == (progressive, not progressive)
    assert found[0xC2 if progressive else 0xC0][7] == 0x21, "luma is sampled twice as densely in x only"
    assert int.from_bytes(found[0xDD], "big") == 5
    if not progressive:
        assert len(re.findall(rb"\xff[\xd0-\xd7]", data)) == -(-8 * 12 // 5) - 1


@pytest.mark.parametrize(("size", "shown"), [((96, 96), 0), ((1, 600), 0)], ids=["square", "row"])
def test_jpeg_noise_that_overflows_pillows_buffer_is_coded_all_the_same(size, shown):
    noise = np.random.default_rng(shown).integers(0, 256, (*size, 3), dtype=np.uint8)
    for progressive in (False, True):
        codec = JpegCodec(quality=95, chroma="444", progressive=progressive)
        assert psnr(codec.decode(codec.encode(noise)).picture, noise) > 25


def test_jpeg2000_headers_say_what_was_asked():
    picture = photograph(96, 128)
    data = Jpeg2000Codec(tile=64, block=16, precinct=32, progression="RPCL").encode(picture)
    found = segments(data)
    assert found[0x51][18:26] == (64).to_bytes(4, "big") * 2, "tile size in SIZ"
    style, progression, layers, transform = found[0x52][0], found[0x52][1], found[0x52][2:4], found[0x52][4]
    assert (style & 1, progression, layers, transform) == (1, 2, b"\0\1", 1), "precincts, RPCL, one layer, colours"
    assert found[0x52][6:10] == bytes([2, 2, 0, 0]), "16x16 blocks, no styles, 9/7 wavelet"
    assert data.count(b"\xff\x90\x00\x0a") == 4, "tile-parts"


def test_jpeg2000_quality_is_psnr():
    picture = photograph(128, 128)
    for quality in (28.0, 34.0, 40.0):
        codec = Jpeg2000Codec(quality=quality)
        assert psnr(codec.decode(codec.encode(picture)).picture, picture) == pytest.approx(quality, abs=1.5)


@pytest.mark.parametrize("codec", CONCEALING, ids=str)
def test_policies_on_files_that_end_early(codec):
    need(codec)
    picture = photograph(128, 128)
    strict, data = codec.with_parameters(decoding="strict"), codec.encode(picture)
    whole = strict.decode(data).picture
    assert np.array_equal(codec.decode(data).picture, whole)
    assert codec.decode(data).status is Status.OK
    shown = 0
    for share in (0.95, 0.85, 0.7):
        cut = data[: round(share * len(data))]
        by_strict, result = strict.decode_many([cut])[0], codec.decode_many([cut])[0]
        assert by_strict.status is Status.FAILED
        if result.status is Status.DEGRADED:
            shown += 1
            assert result.damage.notes == (by_strict.error,)
            assert psnr(result.picture[:32], whole[:32]) > 20
    assert shown == 3 or (codec.name == "avif" and shown)
    assert codec.decode_many([data[:20]])[0].status is Status.FAILED


@pytest.mark.parametrize("codec", CONCEALING, ids=str)
def test_policies_on_flipped_files(codec):
    need(codec)
    strict, data = codec.with_parameters(decoding="strict"), codec.encode(photograph(64, 64))
    files = [BinarySymmetricChannel(2e-3).corrupt(data, np.random.default_rng(seed)) for seed in range(20)]
    for by_strict, by_concealing in zip(strict.decode_many(files), codec.decode_many(files), strict=True):
        assert by_strict.status in (Status.OK, Status.FAILED)
        if by_strict.status is Status.OK:
            assert by_concealing.status is Status.OK
            assert np.array_equal(by_strict.picture, by_concealing.picture)
        else:
            assert by_concealing.status in (Status.DEGRADED, Status.FAILED)


def test_restart_markers_confine_damage():
    """Of 40 files with one flip each, those with markers are better in the mean, by any count of luck."""
    picture = photograph(128, 128)

    def mean(codec: JpegCodec) -> float:
        data = codec.encode(picture)
        start, rng = data.index(b"\xff\xda") + 14, np.random.default_rng(5)
        qualities = []
        for _ in range(40):
            damaged = bytearray(data)
            damaged[rng.integers(start, len(data) - 2)] ^= 1 << rng.integers(8)
            result = codec.decode_many([bytes(damaged)])[0]
            qualities.append(8.0 if result.image is None else psnr(result.picture, picture))
        return float(np.mean(qualities))

    codecs = [JpegCodec(quality=75, restart=restart, decoding="concealing") for restart in (0, 4)]
    assert mean(codecs[1]) > mean(codecs[0]) + 3


def test_progressive_jpeg_is_shown_up_to_the_scan_that_fails(photo):
    data = JpegCodec(quality=90, progressive=True).encode(photo)
    tables = [match.start() for match in re.finditer(rb"\xff\xc4", data)]
    damaged = bytearray(data)
    damaged[tables[-1] + 5 : tables[-1] + 21] = bytes([255] * 16)
    codec = JpegCodec(decoding="concealing")
    assert JpegCodec().decode_many([bytes(damaged)])[0].status is Status.FAILED
    assert codec.decode(bytes(damaged)).status is Status.DEGRADED
    assert psnr(codec.decode(bytes(damaged)).picture, photo) > 20
    parts = list(leading_scans(data))
    assert len(parts) == len(re.findall(rb"\xff\xda", data))
    qualities = [psnr(read_picture(part, "JPEG"), photo) for part in parts]
    assert qualities[0] > qualities[-1] + 2


def test_nothing_but_a_header_is_no_picture():
    data = Jpeg2000Codec().encode(photograph(64, 64))
    header = data[: data.index(b"\xff\x90")]
    with pytest.raises(DecodeError):
        Jpeg2000Codec(decoding="concealing").decode(header)


def test_settings_of_pillow_stay_as_they_are(photo):
    before = ImageFile.LOAD_TRUNCATED_IMAGES, AvifImagePlugin.DEFAULT_MAX_THREADS
    data = JpegCodec().encode(photo)
    JpegCodec(decoding="concealing").decode(data[:-500])
    assert conceal_picture(data[:-500], "JPEG").shape == photo.shape
    with pytest.raises(DecodeError):
        conceal_picture(data[:30], "JPEG")
    with pytest.raises(DecodeError):
        read_picture(data[:-500], "JPEG")
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, AvifImagePlugin.DEFAULT_MAX_THREADS)


def test_what_pillow_cannot_write(photo):
    with pytest.raises(ImageError, match="Pillow cannot write this picture as NOSUCH"):
        write_picture(photo, "NOSUCH")


@pytest.mark.parametrize("codec", [*PLAIN, *CONCEALING], ids=str)
def test_files_of_all_formats_at_all_decoders(codec):
    """Each also damaged: every decoder returns results, and its process or the next one goes on working."""
    need(codec)
    picture = photograph(24, 32)
    files = []
    for other in PLAIN:
        pytest.importorskip(NEEDS.get(other.name, "PIL"))
        data = other.encode(picture)
        rngs = [np.random.default_rng(seed) for seed in range(2)]
        files += [data, data[: len(data) // 2], *(BinarySymmetricChannel(1e-2).corrupt(data, rng) for rng in rngs)]
    for result in codec.decode_many(files):
        assert (result.image is None) == (result.status is Status.FAILED) == bool(result.error)
    assert codec.decode(codec.encode(picture)).status is Status.OK


def test_claims_of_huge_pictures_are_refused():
    data = bytearray(Jpeg2000Codec().encode(photograph(32, 32)))
    for position in (8, 12, 24, 28):
        data[position : position + 4] = (8192).to_bytes(4, "big")
    for codec in (Jpeg2000Codec(), Jpeg2000Codec(decoding="concealing"), Htj2kCodec()):
        assert "8192x8192" in codec.decode_many([bytes(data)])[0].error


@pytest.mark.parametrize(
    ("codec", "name", "least_db"),
    [(JpegCodec(), "ffmpeg.jpg", 36), (Jpeg2000Codec(), "ffmpeg.j2k", 52), (AvifCodec(), "svt.avif", 28)],
    ids=["jpeg", "jpeg2000", "avif"],
)
def test_files_of_other_encoders(codec, name, least_db):
    """FFmpeg's own encoders of JPEG and JPEG 2000, and SVT-AV1, none of which are used here."""
    data = (GOLDEN / name).read_bytes()
    result = codec.decode(data)
    assert result.status is Status.OK
    assert psnr(result.picture, photograph(40, 48)) >= least_db
    assert codec.signature.match(data)


def test_two_decoders_agree_on_htj2k():
    need(Htj2kCodec(decoding="concealing"))
    for size in ((64, 64), (65, 33), (5, 7)):
        codec, picture = Htj2kCodec(step=2**-7), photograph(*size)
        data = codec.encode(picture)
        assert psnr(conceal_htj2k(data), codec.decode(data).picture) > 45


@pytest.mark.parametrize(
    ("codec", "module", "package"),
    [
        (JpegXlCodec(), "imagecodecs", "imagecodecs"),
        (Htj2kCodec(), "imagecodecs", "imagecodecs"),
        (HeicCodec(), "pillow_heif", "pillow-heif"),
    ],
    ids=["jpegxl", "htj2k", "heic"],
)
def test_missing_libraries_are_said_before_anything_is_tried(codec, module, package, photo, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingExtraError, match=rf"{package} is not installed; run: pip install 'flipproof\[classical\]'"
    ):
        codec.encode(photo)
    if codec.name != "htj2k":  # which Pillow reads
        with pytest.raises(MissingExtraError, match=package):
            codec.decode_many([b""])


def test_concealing_htj2k_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="av is not installed"):
        Htj2kCodec(decoding="concealing").decode_many([b""])
    assert Htj2kCodec().decode_many([b""])[0].status is Status.FAILED
