"""The parts of the BPG format: headers, parameter sets, filters, matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipproof.bpg.chroma import downsample_columns, downsample_rows, upsample, upsample_columns
from flipproof.bpg.colour import from_rgb, to_rgb
from flipproof.bpg.header import MAGIC, Alpha, ColorSpace, Header, PixelFormat, read_ue7, write_ue7
from flipproof.bpg.sequence import read_sequence
from flipproof.bpg.syntax import START_CODE, SyntaxReader, SyntaxWriter, Unit, split_units
from flipproof.bpg.tree import CodingTree, Pcm, parameter_sets
from flipproof.errors import DecodeError, HeaderError

CONTROL = b"\x05\x03\x00\x01\x19"


@st.composite
def headers(draw: st.DrawFn) -> Header:
    pixel_format = draw(st.sampled_from(PixelFormat))
    gray = pixel_format == PixelFormat.GRAY
    return Header(
        height=draw(st.integers(1, 1024)),
        width=draw(st.integers(1, 16383)),
        pixel_format=pixel_format,
        color_space=ColorSpace.YCBCR if gray else draw(st.sampled_from(ColorSpace)),
        bit_depth=draw(st.integers(8, 14)),
        alpha=draw(st.sampled_from([a for a in Alpha if not (gray and a == Alpha.WHITE)])),
        limited_range=draw(st.booleans()),
        animated=draw(st.booleans()),
        extensions=CONTROL + draw(st.sampled_from([b"", b"\x01\x05hello"])),
    )


@st.composite
def trees(draw: st.DrawFn) -> CodingTree:
    block = draw(st.integers(3, 6))
    tree = draw(st.integers(max(4, block), 6))
    transform = draw(st.integers(2, min(5, block - 1)))
    pcm = Pcm(draw(st.integers(1, 16)), draw(st.integers(1, 16)), draw(st.integers(3, 5)), 0, draw(st.booleans()))
    return CodingTree(
        block=block,
        larger_blocks=tree - block,
        transform=transform,
        larger_transforms=draw(st.integers(0, min(tree, 5) - transform)),
        depth=draw(st.integers(0, tree - transform)),
        adaptive_offset=draw(st.booleans()),
        pcm=draw(st.sampled_from([None, pcm])),
        strong_smoothing=draw(st.booleans()),
        range_flags=draw(st.none() | st.integers(0, 511)),
    )


@given(headers(), st.binary(max_size=40))
def test_header_comes_back(header, payload):
    assert Header.unpack(header.pack(payload)) == (header, payload)


@given(headers(), st.binary(max_size=300), st.data())
def test_damaged_headers_are_refused_or_within_bounds(header, payload, data):
    file = bytearray(header.pack(payload))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(4, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        read, rest = Header.unpack(bytes(file))
        tree, _ = CodingTree.unpack(rest)
    except HeaderError:
        return
    assert read.height * read.width <= 2**24
    assert tree.padded(read.height) < read.height + 64
    assert len(rest) <= len(file)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        MAGIC,
        b"BPG?" + bytes(10),
        MAGIC + bytes([0xE0, 0, 1, 1, 0]),  # pixel format 7
        MAGIC + bytes([0x20, 0x50, 1, 1, 0]),  # colour space 5
        MAGIC + bytes([0x27, 0, 1, 1, 0]),  # 15 bits
        MAGIC + bytes([0x00, 0x10, 1, 1, 0]),  # gray as RGB
        MAGIC + bytes([0x00, 0x04, 1, 1, 0]),  # gray with a plane of white
        MAGIC + bytes([0x20, 0x00, 0, 1, 0]),  # no column
        MAGIC + bytes([0x20, 0x00, 0x80, 1, 1, 0]),  # not the shortest number
        MAGIC + bytes([0x20, 0x00, 0xFF, 0xFF, 0x7F, 1, 0]),  # too wide
        MAGIC + bytes([0x20, 0x01, 1, 1, 0]),  # animation without control
        MAGIC + bytes([0x20, 0x09, 1, 1, 0, 2, 5, 9]),  # extension that is too long
        MAGIC + bytes([0x20, 0x08, 1, 1, 0, 0x84]),  # ends within a number
    ],
)
def test_impossible_headers_are_refused(file):
    with pytest.raises(HeaderError):
        Header.unpack(file)


def test_length_zero_is_the_rest_of_the_file():
    header = Header(4, 6)
    assert Header.unpack(header.pack(b"") + b"rest") == (header, b"rest")


@given(st.integers(0, 2**30 - 1))
def test_numbers_in_groups_of_seven_bits(value):
    data = write_ue7(value)
    assert read_ue7(data + b"\xff") == (value, len(data))


@given(st.lists(st.integers(0, 2**31 - 2)))
def test_exp_golomb_numbers(values):
    writer = SyntaxWriter()
    for value in values:
        writer.write_ue("value", value)
    reader = SyntaxReader(writer.finish())
    assert [reader.read_ue("value") for _ in values] == values


def test_exp_golomb_number_of_too_many_bits():
    with pytest.raises(HeaderError, match="at most 32 bits"):
        SyntaxReader(bytes(40)).read_ue("value")


@given(st.binary(min_size=1).map(lambda b: b + b"\x80"), st.sampled_from([19, 34]))
def test_units_survive_a_byte_stream(payload, kind):
    unit = Unit.wrap(kind, payload)
    assert unit.payload == payload
    assert (unit.kind, unit.layer) == (kind, 0)
    assert split_units(START_CODE + unit.data + START_CODE[1:] + unit.data) == [unit, unit]


@given(trees(), st.binary(max_size=5))
def test_coding_tree_comes_back(tree, rest):
    assert CodingTree.unpack(tree.pack() + rest) == (tree, rest)


@given(trees(), st.integers(1, 999), st.integers(1, 999), st.integers(0, 3), st.integers(8, 14))
def test_implied_sequence_parameter_set_says_the_same(tree, height, width, chroma, depth):
    sequence = read_sequence(parameter_sets(tree, height, width, chroma, depth)[1].payload)
    assert sequence.tree == tree
    assert (sequence.chroma, sequence.bit_depth) == (chroma, depth)
    assert 0 <= sequence.height - height < 1 << tree.block
    assert 0 <= sequence.width - width < 1 << tree.block


@pytest.mark.parametrize("sizes", [(3, 0, 2, 0, 0), (3, 4, 2, 3, 0), (3, 3, 3, 0, 0), (3, 3, 2, 4, 0), (3, 1, 2, 2, 9)])
def test_coding_trees_that_hevc_does_not_have(sizes):
    with pytest.raises(HeaderError, match="coding and transform blocks"):
        CodingTree(*sizes)


@given(st.binary(max_size=30))
def test_any_hevc_header_is_read_or_refused(data):
    try:
        tree, rest = CodingTree.unpack(data)
    except DecodeError:
        return
    assert CodingTree.unpack(tree.pack() + rest) == (tree, rest)


def test_other_extensions_are_refused():
    writer = SyntaxWriter()
    CodingTree().write_sizes(writer)
    writer.write_ue("depth", 0)
    writer.write("tools", 0b0011_0000_0001, 12)
    data = writer.getvalue()
    with pytest.raises(HeaderError, match="no other extensions"):
        CodingTree.unpack(write_ue7(len(data)) + data)


def test_sequence_parameter_set_that_bpg_does_not_imply():
    payload = bytearray(parameter_sets(CodingTree(), 64, 64, 1, 8)[1].payload)
    payload[0] |= 0x10
    with pytest.raises(HeaderError, match="sps_video_parameter_set_id = 0"):
        read_sequence(bytes(payload))


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("centred", [True, False])
def test_flat_chroma_stays_flat(depth, centred):
    plane = np.full((9, 7), 77, np.int32)
    assert (upsample(plane.astype(np.uint16), 2, 15, 13, depth, centred) == 77).all()
    assert (upsample_columns(plane, 13, depth, centred) == 77).all()
    assert (downsample_rows(plane, depth) == 77).all()
    assert (downsample_columns(plane, depth) == 77).all()
    assert downsample_rows(plane, depth).shape == (5, 4)
    assert downsample_columns(plane, depth).shape == (9, 4)


@pytest.mark.parametrize("centred", [True, False])
def test_upsampling_meets_a_ramp_where_chroma_lies(centred):
    """Chroma sample j is at luma position 2 j + 0.5 if centred and 2 j if not; rows are centred always."""
    y, x = np.mgrid[0:40, 0:40].astype(float)
    at = np.add.outer(3 * (2 * np.arange(20) + 0.5), 2 * (2 * np.arange(20) + 0.5 * centred))
    fine = upsample(np.rint(at).astype(np.uint16), 0, 40, 40, 8, centred)
    assert np.abs(fine - (3 * y + 2 * x))[8:-8, 8:-8].max() <= 1.5


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20), st.integers(1, 9))
def test_bands_are_parts_of_the_whole(seed, height, width, half):
    plane = np.random.default_rng(seed).integers(0, 256, (-(-height // 2), -(-width // 2))).astype(np.uint16)
    whole = upsample(plane, 0, height, width, 8, True)
    assert whole.shape == (height, width)
    parts = [upsample(plane, y, min(2 * half, height - y), width, 8, True) for y in range(0, height, 2 * half)]
    assert (np.concatenate(parts) == whole).all()


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("space", list(ColorSpace))
def test_ten_bits_hold_every_colour(space, limited):
    rgb = np.stack(np.meshgrid(*3 * [np.arange(0, 256, 15)]), axis=-1).reshape(18, -1, 3).astype(np.uint8)
    assert (to_rgb(from_rgb(rgb, space, 10, limited), space, 10, 8, limited) == rgb).all()


def test_planes_of_known_colours():
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]]], np.uint8)
    full = np.stack(from_rgb(rgb, ColorSpace.YCBCR, 8, False), axis=-1)[0].tolist()
    assert full == [[76, 85, 255], [150, 44, 21], [29, 255, 107], [255, 128, 128], [0, 128, 128]]  # JFIF
    video = np.stack(from_rgb(rgb, ColorSpace.BT709, 8, True), axis=-1)[0].tolist()
    assert video == [[63, 102, 240], [173, 42, 26], [32, 240, 118], [235, 128, 128], [16, 128, 128]]  # BT.709


def test_formats_and_layers():
    assert PixelFormat.YUV422_VIDEO.chroma == PixelFormat.YUV422.chroma == 2
    assert PixelFormat.YUV420.centred
    assert not PixelFormat.YUV420_VIDEO.centred
    upper = replace(Unit.wrap(19, b"\x80"), data=bytes([19 << 1, 9, 0x80]))
    assert upper.layer == 1
    assert upper.starts_picture
    assert upper.on_base_layer() == Unit.wrap(19, b"\x80")
