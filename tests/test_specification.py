"""The specification is complete and true: a decoder written from its page alone gives the same pictures.

That decoder is the package ``reference`` beside this file. What it decodes are golden files, clean, damaged and cut
short, fresh files of rarer parameters, headers with arbitrary fields, and containers of any content.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import reference
from conftest import photograph
from flipproof import container, registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codec.script import WIRE_NAMES, Common, write_common
from flipproof.errors import DecodeError, HeaderError
from flipproof.metric.psnr import psnr
from flipproof.prior.base import PIXELS
from flipproof.protection import plan as protection
from flipproof.protection.accumulate import RepeatAccumulate
from flipproof.protection.bch import BCH
from flipproof.protection.ladder import BLOCKS, LONG
from flipproof.protection.plan import UNPROTECTED
from reference.blockcode import BlockCode
from reference.blocks import LADDER, PARITIES
from reference.codebook import quantiles
from reference.container import LENGTH, open_container
from reference.decoder import decode, read_plan
from reference.refusal import NoPictureError
from reference.sums import SumCode

GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*/*/*.flip"))
PAGE = Path(__file__).parents[1] / "docs" / "format.md"
FINGERPRINT_END, SIDE_BITS = 40, 14
KIND_BIT, FIRST_OF_CODEC, LEADING_OF_COUNT = 93, 94, 123
"""Places of the kind of codebook, of the first bit of the codec's own fields, and of 256 in the atoms per step M."""

FRESH = [
    "trellis[bpp=5,protect=uniform[t=28],window=2]",
    "trellis[bpp=9,steps_per_octave=2,protect=uep[ber=0.1]]",
    "trellis[bpp=2.5,threshold=0.25,steps_per_octave=1,window=12,protect=none]",
    "trellis[bpp=12,window=7,protect=none]",
    "tracks[bpp=5,protect=uniform[t=28],track_bits=3]",
    "tracks[bpp=3,threshold=0.25,steps_per_octave=1,codebook=gaussian,protect=none]",
    "ddcm[count=4,atoms=64,steps=5,grid=4,codebook=gaussian,coefficient_bits=2]",
    "hybrid-turbo-ddcm[count=20,alone=20,atoms=2048,steps=6,grid=8,free_steps=1]",
    "robust-diffc[bpp=20,steps=9,codebook=gaussian,seed_bits=8,grid=1,protect=uep[ber=0.03]]",
    "diffc[bpp=12,steps=6,seed_bits=5,grid=1]",
]


def name_of(path: Path) -> str:
    return f"{path.parents[1].name}-{path.parent.name}-{path.stem}"


def check_agreement(data: bytes) -> None:
    """Both decoders give the same picture, or none."""
    theirs = registry.codec(codec_name(data), precision="float32", views=1).decode_many([data])[0].image
    try:
        ours = decode(data)
    except NoPictureError:
        assert theirs is None
    else:
        assert theirs is not None
        assert psnr(ours, theirs) > 60


def check_lengths(data: bytes) -> None:
    """Cut, and with a run lost or inserted in the middle."""
    for share in (0.97, 0.85, 0.5, 0.2):
        check_agreement(data[: int(share * len(data))])
    middle = len(data) // 2
    check_agreement(data[:middle] + data[middle + 9 :])
    check_agreement(data[:middle] + bytes(range(20)) + data[middle:])


def codec_name(data: bytes) -> str:
    """The codec of a file, or any where its header is lost."""
    try:
        return WIRE_NAMES[container.unpack(data).fields[0]]
    except DecodeError:
        return "tracks"


@pytest.mark.parametrize("path", GOLDEN, ids=name_of)
def test_golden_files_decode_as_specified(path):
    check_agreement(path.read_bytes())


@pytest.mark.parametrize("path", [path for path in GOLDEN if path.stem == "clean"], ids=name_of)
def test_golden_files_of_other_lengths_decode_as_specified(path):
    check_lengths(path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in GOLDEN if path.stem == "damaged" and path.parents[1].name == "v3"], ids=name_of
)
def test_damaged_golden_files_of_other_lengths_decode_as_specified(path):
    check_lengths(path.read_bytes())


@pytest.mark.parametrize("spec", FRESH)
def test_fresh_files_decode_as_specified(spec):
    data = registry.codec(spec).encode(photograph(19, 26))
    rng = np.random.default_rng(1)
    for received in (data, BinarySymmetricChannel(5e-3).corrupt(data, rng), data[: int(0.9 * len(data))]):
        check_agreement(received)


@pytest.mark.parametrize("name", ["trellis", "tracks"])
def test_files_at_the_edge_of_repair_decode_as_specified(name):
    data = registry.codec(f"{name}[bpp=6,protect=uniform[t=40]]").encode(photograph(19, 26))
    rng = np.random.default_rng(2)
    for _ in range(2):
        check_agreement(BinarySymmetricChannel(0.05).corrupt(data, rng))


def test_no_header_field_is_read_otherwise():
    """Any header means the same steps to both, or is refused by both."""

    @settings(max_examples=200, deadline=None)
    @given(
        st.sampled_from(sorted(golden_fields())),
        st.none() | st.tuples(st.integers(0, 2**14 - 1), st.integers(0, 2**14 - 1)),
        st.booleans(),
        st.lists(st.integers(0, 2**16), max_size=4),
    )
    @example("robust-turbo-ddcm", (4000, 4000), True, [])
    @example("robust-turbo-ddcm", (4000, 4000), True, [LEADING_OF_COUNT - FINGERPRINT_END])
    @example("turbo-ddcm", None, False, [FIRST_OF_CODEC - FINGERPRINT_END])
    def same(name: str, size: tuple[int, int] | None, gaussian: bool, flips: list[int]) -> None:
        fields = altered(golden_fields()[name], size, gaussian, flips)
        assert steps_of_reference(fields) == steps_of_package(name, fields)

    same()


@settings(max_examples=15)
@given(st.data())
def test_no_container_is_read_otherwise(data):
    """Header fields and payload of any size under any plan: the same bits come out, known or not.

    Damaged too, but for the long codes, of which it is the reader's choice what to repair.
    """
    fields, payload = data.draw(st.binary(max_size=60)), data.draw(st.binary(max_size=200))
    ends = sorted(data.draw(st.sets(st.integers(1, 32), max_size=4)))
    tiers = tuple(protection.Tier(data.draw(st.integers(0, 7)), end) for end in ends)
    ladder, interleaved = data.draw(st.sampled_from([BLOCKS, LONG])), data.draw(st.booleans())
    file = container.pack(fields, payload, protection.Plan(tiers, interleaved, ladder))
    rate, lost = data.draw(st.sampled_from([0, 1e-2, 3e-2])), data.draw(st.sampled_from([0, 1, 6]))
    if ladder is LONG:
        rate, lost = 0, 0
    received = BinarySymmetricChannel(rate).corrupt(file, np.random.default_rng(0))
    place = data.draw(st.integers(12, len(file)))
    received = received[:place] + received[place + lost :]
    try:
        ours = open_container(received)
    except NoPictureError:
        with pytest.raises(DecodeError):
            container.unpack(received)
        return
    theirs = container.unpack(received)
    assert ours.fields == theirs.fields == fields
    assert ours.version == theirs.plan.ladder.version == ladder.version
    assert ours.tiers == [(tier.code, tier.end) for tier in theirs.plan.tiers]
    wanted, found = theirs.payload(len(payload)), ours.payload(len(payload))
    assert np.array_equal(found.known, wanted.known)
    assert np.array_equal(found.values[found.known], wanted.bits[found.known])


@pytest.mark.parametrize("code", [LENGTH, *(code for code, _ in LADDER)], ids=str)
def test_blocks_are_coded_and_repaired_as_specified(code):
    """Against the package, with flips and unknown bits up to what can be repaired and beyond."""
    same = BCH(code.t, m=code.m)
    rng = np.random.default_rng(code.t)
    data = rng.integers(0, 2, (4, min(24 + code.t * 8, same.data_bits)), dtype=np.uint8)
    for index, sent in enumerate(same.encode(data)):
        word = sent[: data.shape[1] + code.degree]
        assert (code.word(data[index]) == word).all()
        assert not sent[len(word) :].any()
        for flips, lost in ((code.t, 0), (code.t + 1, 0), (1, code.t), (0, code.degree - 9), (0, code.degree + 1)):
            check_block(code, sent, flips, lost, rng)


def check_block(code: BlockCode, sent: np.ndarray, flips: int, lost: int, rng: np.random.Generator) -> None:
    size = len(sent) - 8 * code.parity_bytes
    places = rng.permutation(size + code.degree)[: flips + lost]
    received, llr = sent.copy(), np.full(len(sent), np.inf, np.float32)
    received[places[:flips]] ^= 1
    received[places[flips:]] = 0
    llr[places[flips:]] = 0
    theirs = BCH(code.t, m=code.m).decode(received[None], np.where(received, -llr, llr)[None] if lost else None)
    ours = code.repair(received[: size + code.degree], llr[: size + code.degree] != 0)
    assert (ours is None) == theirs.failed[0]
    assert ours is None or (ours[:size] == theirs.data[0]).all()


@pytest.mark.parametrize(("data", "parity", "ber"), [(1, 4, 0), (9, 4, 0), (150, 20, 4e-3), (90, 180, 0.08)])
def test_long_codes_are_those_specified(data, parity, ber):
    """Words of the package meet the checks of the page, and both repair what is well within reach."""
    code, same = SumCode(8 * data, 8 * parity), RepeatAccumulate(data, parity)
    rng = np.random.default_rng(data)
    sent = rng.integers(0, 2, (3, 8 * data), dtype=np.uint8)
    words = same.encode(sent)
    flipped = words ^ (rng.random(words.shape) < ber)
    lost = rng.random(words.shape) < ber
    theirs = same.decode(flipped, np.where(lost, 0, np.where(flipped, -np.inf, np.inf)).astype(np.float32))
    assert (theirs.data == sent).all()
    for word, received, known in zip(words, flipped, ~lost, strict=True):
        assert not code.unmet(word).any()
        assert (code.repair(received, known) == word).all()


def test_codes_are_those_of_the_page():
    page = PAGE.read_text(encoding="utf-8")
    assert f"`{LENGTH.generator:#x}`" in page
    rows = ([code.t for code, _ in LADDER], [code.degree for code, _ in LADDER])
    rows += ([code.parity_bytes for code, _ in LADDER], [data for _, data in LADDER], PARITIES)
    for row in rows:
        assert f" | {' | '.join(map(str, row))} |\n" in page


@pytest.mark.parametrize(("side", "possible"), [(2364, True), (2366, False)])
def test_longest_gaussian_atoms_are_as_specified(side, possible):
    """What counts is the grid a step goes to, although a growing step moves three quarters of it."""
    fields = growing_chain(Common(side, side, PIXELS, "gaussian"))
    assert (steps_of_reference(fields) is not None) == possible
    assert (steps_of_package("tracks", fields) is not None) == possible


def test_quantiles_are_those_of_the_page():
    table = quantiles().astype("<f4").tobytes()
    assert hashlib.sha256(table).hexdigest() in PAGE.read_text(encoding="utf-8")


def test_reference_stands_alone():
    for path in Path(reference.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "import flipproof" not in source
        assert "from flipproof" not in source
        assert "bchlib" not in source


def growing_chain(common: Common) -> bytes:
    """Header fields of tracks: a step on grid 2 that nothing is known about, and one that grows to grid 1."""
    writer = write_common("tracks", common)
    grids_and_noise = ((1, 3), (16, 8), (16, 5), (2, 3))
    steps_and_tracks = ((4, 4), (2, 6), (0, 3), (1000, 12), (5, 22), (4, 7))
    for value, width in grids_and_noise + steps_and_tracks:
        writer.write("field", value, width)
    return writer.getvalue()


@cache
def golden_fields() -> dict[str, bytes]:
    """Header fields of one file of every codec."""
    opened = [container.unpack(path.read_bytes()).fields for path in GOLDEN]
    return {WIRE_NAMES[fields[0]]: fields for fields in opened}


def altered(fields: bytes, size: tuple[int, int] | None, gaussian: bool, flips: list[int]) -> bytes:
    """Header fields with another size, a kind of codebook, and flips behind the fingerprint."""
    bits = np.unpackbits(np.frombuffer(fields, np.uint8))
    if size is not None:
        digits = "".join(f"{side:0{SIDE_BITS}b}" for side in size)
        bits[FINGERPRINT_END : FINGERPRINT_END + 2 * SIDE_BITS] = list(map(int, digits))
    bits[KIND_BIT] = gaussian
    for flip in flips:
        bits[FINGERPRINT_END + flip % (len(bits) - FINGERPRINT_END)] ^= 1
    return np.packbits(bits).tobytes()


Rows = list[tuple[int, float, bool, int]]
"""Grid, noise, growth and bits of every step."""


def steps_of_reference(fields: bytes) -> tuple[Rows, int] | None:
    try:
        plan = read_plan(fields)
    except NoPictureError:
        return None
    return [(step.grid, rounded(step.sigma), step.growing, step.bits) for step in plan.steps], plan.payload_size


def steps_of_package(name: str, fields: bytes) -> tuple[Rows, int] | None:
    codec = registry.codec(name)
    try:
        _, script = codec.open(container.unpack(container.pack(fields, b"", UNPROTECTED)))
    except HeaderError:
        return None
    rows = [(step.level.grid, rounded(step.level.sigma), step.growing, step.bits) for step in script.steps]
    return rows, script.payload_size


def rounded(sigma: float) -> float:
    return float(f"{sigma:.9g}")
