from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import photograph
from flipproof.codec.avif import AvifCodec
from flipproof.codec.heic import HeicCodec
from flipproof.codec.htj2k import Htj2kCodec
from flipproof.codec.jpeg2000 import Jpeg2000Codec
from flipproof.codec.salvage import MOST_PADDING, SALVAGE, leading_packets, pad_boxes, pad_chunks, pad_codestream
from flipproof.codec.webp import WebpCodec


@settings(max_examples=60)
@given(st.binary(max_size=64), st.sampled_from([b"", b"RIFF", b"\xff\x4f\xff\x51\x00\x04\0\0\xff\x90\x00\x0a\0\0"]))
def test_padding_takes_any_bytes(data, start):
    assert all(len(list(salvage(start + data))) <= 20 for salvage in SALVAGE.values())
    for pad in (pad_boxes, pad_chunks, pad_codestream):
        padded = pad(start + data)
        assert padded.startswith(start + data)
        assert len(padded) <= len(start + data) + MOST_PADDING + 2
        assert not padded[len(start + data) :].removesuffix(b"\xff\xd9").strip(b"\0")


@pytest.mark.parametrize(
    ("codec", "pad"),
    [
        (WebpCodec(), pad_chunks),
        (AvifCodec(), pad_boxes),
        (HeicCodec(), pad_boxes),
        (Jpeg2000Codec(), pad_codestream),
        (Jpeg2000Codec(tile=32), pad_codestream),
        (Htj2kCodec(), pad_codestream),
    ],
    ids=str,
)
def test_padding_gives_files_their_length_back(codec, pad):
    pytest.importorskip({"htj2k": "imagecodecs", "heic": "pillow_heif"}.get(codec.name, "PIL"))
    data = codec.encode(photograph(48, 64))
    assert pad(data) == data
    assert next(leading_packets(data)) == data or pad is not pad_codestream
    cut = data[: len(data) - 40]
    assert len(pad(cut)) == len(data)
    assert pad(cut) == cut + bytes(38) + (b"\xff\xd9" if pad is pad_codestream else b"\0\0")
