from __future__ import annotations

import copy
import importlib
import pkgutil
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import flipproof
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.base import Codec
from flipproof.container import pack
from flipproof.errors import DamagedError, DecodeError, FlipproofError, NotFlipError
from flipproof.metric.psnr import psnr
from flipproof.protection.plan import UNPROTECTED


def test_encode_flip_decode(photo, tmp_path):
    data = flipproof.encode(photo, bpp=0.6)
    assert flipproof.decode(data, strict=True).status is flipproof.Status.OK
    flipped = flipproof.decode(data[:-5] + bytes([data[-5] ^ 0x10]) + data[-4:])
    assert (flipped.status, flipped.damage.repaired_bits) == (flipproof.Status.OK, 1)
    damaged = BinarySymmetricChannel(0.03).corrupt(data, np.random.default_rng(0))
    result = flipproof.decode(damaged)
    assert result.status is flipproof.Status.DEGRADED
    assert psnr(result.picture, photo) > 15
    with pytest.raises(DamagedError, match="beyond repair, payload damaged") as caught:
        flipproof.decode(damaged, strict=True)
    assert caught.value.result.image is not None
    (tmp_path / "a.flip").write_bytes(data)
    assert (flipproof.decode(tmp_path / "a.flip").picture == flipproof.decode(data).picture).all()


def test_codec_objects_are_used_as_they_are(photo):
    from flipproof.codec.jpeg import JpegCodec

    class Loud(JpegCodec):
        def encode(self, image, priority=None):
            return super().encode(image, priority) + b"!"

    assert flipproof.encode(photo, Loud(quality=20)).endswith(b"!")
    assert len(flipproof.encode(photo, JpegCodec(), bpp=1.0)) <= 96 * 128 / 8
    with pytest.raises(flipproof.SpecError, match="no parameter 'bpp'"):
        flipproof.encode(photo, RatelessCodec(), bpp=1.0)


@dataclass(frozen=True)
class RatelessCodec(Codec):
    name = "rateless"

    def encode(self, image):
        return b""

    def decode_many(self, files):
        return []


def test_errors_can_be_rebuilt_from_their_arguments():
    from flipproof.errors import MissingExtraError, UnknownNameError
    from flipproof.result import Damage, DecodeResult

    result = DecodeResult(None, flipproof.Status.FAILED, Damage(), error="no")
    errors = [UnknownNameError("codec", "x", ["y"]), DamagedError("bad", result), MissingExtraError("a", "b")]
    for error in errors:
        assert str(copy.copy(error)) == str(error)
    assert hash(result)


def test_other_default_types_change_nothing(photo):
    import torch

    data = flipproof.encode(photo, bpp=0.6)
    torch.set_default_dtype(torch.float64)
    try:
        assert flipproof.encode(photo, bpp=0.6) == data
    finally:
        torch.set_default_dtype(torch.float32)


def test_other_codecs_by_name(photo):
    data = flipproof.encode(photo, codec="jpeg[quality=30]")
    assert data[:2] == b"\xff\xd8"
    assert flipproof.decode(data, codec="jpeg").picture.shape == photo.shape
    result = flipproof.decode(data)
    assert (result.codec, result.picture.shape) == ("jpeg", photo.shape)
    with pytest.raises(NotFlipError):
        flipproof.decode(b"\x00" + data)


@pytest.mark.parametrize(
    "data", [b"", b"\xf7", pack(b"", b"", UNPROTECTED), b"hello", bytes(1000), b"\xf7FLP" + bytes(200)]
)
def test_what_is_no_file_raises_a_decode_error(data):
    with pytest.raises(DecodeError):
        flipproof.decode(data)


def test_a_failed_result_has_no_picture():
    from flipproof.codec.jpeg import JpegCodec

    result = JpegCodec().decode_many([b""])[0]
    with pytest.raises(DecodeError, match="no JPEG"):
        _ = result.picture
    with pytest.raises(DamagedError, match="failed: no JPEG"):
        result.require_ok()


def test_importing_is_light():
    """No torch, NumPy or Pillow before they are needed."""
    code = "import sys, flipproof; print([m for m in ('torch', 'numpy', 'PIL', 'matplotlib') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_name_exists_and_lists_are_sorted():
    assert flipproof.__all__ == sorted(flipproof.__all__)
    for name in flipproof.__all__:
        assert getattr(flipproof, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = flipproof.nothing
    for module in pkgutil.walk_packages(flipproof.__path__, "flipproof."):
        names = getattr(importlib.import_module(module.name), "__all__", [])
        assert len(set(names)) == len(names)
        for name in names:
            assert hasattr(importlib.import_module(module.name), name), f"{module.name}.{name}"


def test_every_error_is_a_flipproof_error():
    from flipproof import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), FlipproofError)


def test_psnr_against_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 9, 8, 3), dtype=np.uint8)
    mse = sum((int(x) - int(y)) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True)) / a.size
    assert psnr(a, b) == pytest.approx(10 * np.log10(65025 / mse), abs=1e-9)
    assert psnr(a, a) == np.inf
    with pytest.raises(flipproof.ImageError, match="one shape"):
        psnr(a, b[:-1])
    with pytest.raises(flipproof.ImageError, match="uint8"):
        psnr(a, b.astype(float))
