"""BPG files in and out, against what the reference decoder makes of them."""

from __future__ import annotations

import hashlib
import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from conftest import photograph
from contracts import check_codec
from flipproof.bpg import encoder
from flipproof.bpg.decoder import conceal, conceal_bpg, read, read_bpg
from flipproof.bpg.encoder import Settings, write
from flipproof.bpg.header import ColorSpace, Header, PixelFormat
from flipproof.bpg.syntax import START_CODE
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.bpg import BpgCodec
from flipproof.errors import DecodeError, ImageError, MissingExtraError, RateError, SpecError
from flipproof.metric.psnr import psnr
from flipproof.optional import load_optional
from flipproof.result import Status

GOLDEN = Path(__file__).parent / "golden" / "bpg"
PIXELS = json.loads((GOLDEN / "pixels.json").read_text())
DATA = (GOLDEN / "libbpg-ycbcr420-q28.bpg").read_bytes()


@pytest.mark.parametrize("reader", [read, conceal])
@pytest.mark.parametrize("name", PIXELS)
def test_pixels_are_those_of_the_reference_decoder(name, reader):
    pixels = reader((GOLDEN / f"{name}.bpg").read_bytes()).convert(8).astype(np.uint8)
    assert list(pixels.shape) == PIXELS[name]["shape"]
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == PIXELS[name]["sha256"]


@pytest.mark.parametrize(
    ("codec", "least_db"),
    [
        (BpgCodec(), 30),
        (BpgCodec(bpp=0.5, decoding="concealing"), 27),
        (BpgCodec(qp=22, chroma="444", bit_depth=10, color_space="ycgco"), 33),
        (BpgCodec(lossless=True, chroma="444", color_space="rgb"), 99),
    ],
)
def test_contract(codec, least_db):
    check_codec(codec, photograph(70, 100), least_db)


FORMATS = [PixelFormat.YUV420, PixelFormat.YUV422, PixelFormat.YUV444]


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 3), (8, 8), (33, 20)])
def test_every_setting_comes_back(size, limited, lossless):
    picture = photograph(*size)
    for index, (pixel_format, space) in enumerate(product(FORMATS, ColorSpace)):
        if space == ColorSpace.RGB and pixel_format != PixelFormat.YUV444:
            continue
        depth = (8, 10, 12)[(index + size[0]) % 3]
        settings = Settings(10, pixel_format, space, depth, lossless, limited)
        decoded = read(write(picture, settings))
        assert decoded.rgb.shape == picture.shape
        if lossless:
            planes = encoder._planes(picture, settings)
            assert all((a == b).all() for a, b in zip(decoded.planes, planes, strict=True))
        else:
            assert psnr(decoded.rgb, picture) > 24


@pytest.mark.parametrize("size", [(16, 16), (33, 65), (130, 70)])
def test_bpg_holds_what_x265_coded(size):
    """The stream of x265 with its own parameter sets has the same samples as the file without them."""
    settings = Settings(bit_depth=10, pixel_format=PixelFormat.YUV422)
    picture = photograph(*size)
    planes = [encoder._pad(plane, index, 3, settings) for index, plane in enumerate(encoder._planes(picture, settings))]
    av = load_optional("av", "bpg")
    context = av.CodecContext.create("hevc", "r")
    frame, *_ = context.decode(av.Packet(encoder._encode(planes, 3, settings))) + context.decode(None)
    for plane, ours in zip(frame.planes, read(write(picture, settings)).planes, strict=True):
        samples = np.frombuffer(memoryview(plane), "<u2").reshape(plane.height, -1)
        assert (samples[: ours.shape[0], : ours.shape[1]] == ours).all()


@pytest.mark.parametrize("space", ["rgb", "ycbcr", "ycgco", "bt709", "bt2020"])
def test_lossless(space):
    picture = np.random.default_rng(0).integers(0, 256, (21, 35, 3), dtype=np.uint8)
    codec = BpgCodec(lossless=True, chroma="444", color_space=space, bit_depth=8 if space == "rgb" else 10)
    assert (codec.decode(codec.encode(picture)).picture == picture).all()


def test_checksum_reveals_damage():
    picture = photograph(40, 56)
    codec = BpgCodec(checksum=True)
    data, plain = codec.encode(picture), BpgCodec().encode(picture)
    assert len(data) == len(plain) + 58
    assert (codec.decode(data).picture == codec.decode(plain).picture).all()
    for byte in range(40, len(plain), 9):
        damaged = bytearray(data)
        damaged[byte] ^= 4
        with pytest.raises(DecodeError, match="libavcodec"):
            read(bytes(damaged))
        assert conceal(bytes(damaged)).rgb.shape == picture.shape


def test_high_depth():
    picture = read((GOLDEN / "ours-lossless-ycbcr-10.bpg").read_bytes())
    assert max(plane.max() for plane in picture.planes) > 255
    assert np.abs(picture.convert(16) / 257.0 - picture.convert(8)).max() < 0.5


def test_alpha_is_laid_over_white():
    picture = read((GOLDEN / "libbpg-alpha-q30.bpg").read_bytes())
    rgba = picture.convert(8).astype(float)
    over = (rgba[..., :3] * rgba[..., 3:] + 255 * (255 - rgba[..., 3:])) / 255
    assert picture.alpha is not None
    assert np.abs(picture.rgb - over).max() <= 1
    for name in ("header-premultiplied", "header-white", "alpha-10-premultiplied"):
        assert read_bpg((GOLDEN / f"{name}.bpg").read_bytes()).shape[2] == 3


def test_rate_takes_the_finest_step_that_fits():
    picture = photograph(40, 56)
    data = BpgCodec(bpp=1.5).encode(picture)
    qp = next(qp for qp in range(52) if BpgCodec(qp=qp).encode(picture) == data)
    assert 8 * len(data) <= 1.5 * 40 * 56 < 8 * len(BpgCodec(qp=qp - 1).encode(picture))
    with pytest.raises(RateError, match=r"bpg: 0\.001 bpp is too low"):
        BpgCodec(bpp=0.001).encode(picture)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"qp": 52}, "qp from 0 to 51"),
        ({"chroma": "411"}, "420 or 422 or 444"),
        ({"bit_depth": 9}, "8 or 10 or 12"),
        ({"color_space": "lab"}, "ycbcr or rgb"),
        ({"color_space": "rgb"}, "444 with color_space=rgb"),
        ({"lossless": True}, "444 with lossless=true"),
        ({"lossless": True, "chroma": "444"}, "10 or 12 with lossless=true"),
        ({"decoding": "hopeful"}, "strict or concealing"),
    ],
)
def test_parameters_out_of_range(parameters, message):
    with pytest.raises(SpecError, match=message):
        BpgCodec(**parameters)


def test_flipped_bits_of_the_head_never_harm():
    """Magic, sizes, lengths, HEVC header, parameter set and the start of the slice."""
    files = []
    for bit in range(0, 8 * 32, 7):
        data = bytearray(DATA[:600])
        data[bit // 8] ^= 128 >> bit % 8
        files.append(bytes(data))
    for result in BpgCodec(decoding="concealing").decode_many(files):
        assert (result.image is None) == (result.status is Status.FAILED)


def test_concealing_shows_what_strict_decoding_refuses():
    picture = photograph(70, 100)
    data = BpgCodec(qp=20).encode(picture)
    codec = BpgCodec(decoding="concealing")
    shorter = data[: len(data) // 2]
    with pytest.raises(DecodeError, match="bytes of picture data"):
        BpgCodec().decode(shorter)
    result = codec.decode(shorter)
    assert result.status is Status.DEGRADED
    assert psnr(result.picture[:20, :40], picture[:20, :40]) > 30
    assert (codec.decode(shorter).picture == result.picture).all()


def test_damage_looks_the_same_whatever_is_in_memory():
    """Damaged slices may end too late; what libavcodec then reads must not be what other pictures left behind."""
    data = BpgCodec(qp=25).encode(photograph(200, 260))
    files = [BinarySymmetricChannel(3e-3).corrupt(data, np.random.default_rng(seed)) for seed in range(30)]

    def seen(order: list[int]) -> dict[int, bytes | str]:
        pictures: dict[int, bytes | str] = {}
        for index in order:
            noise = [np.random.default_rng(index + size).bytes(size) for size in (400, 5000, 30000, 60000)]
            del noise[::2]
            try:
                pictures[index] = conceal(files[index]).rgb.tobytes()
            except DecodeError as error:
                pictures[index] = str(error)
        return pictures

    assert seen([*range(30)]) == seen([*reversed(range(30))])


@pytest.mark.parametrize("reader", [read_bpg, conceal_bpg])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DATA[:4], "BPG header"),
        (Header(96, 128).pack(b"\x03\x92\x47\x40"), "no picture|libavcodec"),
        (Header(96, 128, bit_depth=14).pack(b"\x03\x92\x47\x40"), "bit depth of 8, 9, 10, 12"),
        (Header(96, 128).pack(b"\x09\x92\x47\x40"), "HEVC header of 9 bytes"),
    ],
    ids=["magic alone", "no slice", "depth", "no HEVC header"],
)
def test_files_without_a_picture(reader, data, message):
    with pytest.raises(DecodeError, match=message):
        reader(data)


def test_parameter_sets_within_a_file_are_ignored():
    """A damaged or hostile file cannot replace the sizes that were checked."""
    header, rest = Header.unpack(DATA)
    hostile = START_CODE + bytes.fromhex("4201010408000003009fa800000300005aa01e20287c596ea4932b9a02")
    assert (read(header.pack(rest + hostile)).rgb == read(DATA).rgb).all()


def test_padding_that_x265_refuses(monkeypatch):
    monkeypatch.setattr(encoder, "_PARAMETERS", encoder._PARAMETERS + ":ctu=16:min-cu-size=32")
    with pytest.raises(ImageError, match="x265 cannot code"):
        write(photograph(64, 64), Settings())


def test_settings_that_bpg_does_not_have(monkeypatch):
    monkeypatch.setattr(encoder, "_PARAMETERS", encoder._PARAMETERS + ":scaling-list=default")
    with pytest.raises(DecodeError, match="scaling_list_enabled = 0"):
        write(photograph(64, 64), Settings())


def test_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for use in (lambda: BpgCodec().encode(photograph(8, 8)), lambda: BpgCodec().decode(DATA)):
        with pytest.raises(MissingExtraError, match=r"av is not installed; run: pip install 'flipproof\[bpg\]'"):
            use()
    monkeypatch.undo()
