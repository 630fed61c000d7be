from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from flipproof import registry
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.channel.judge import PictureJudge
from flipproof.channel.targeted import TargetedChannel
from flipproof.codec.base import Codec
from flipproof.errors import ImageError, SpecError
from flipproof.result import DecodeResult, Status

RNG = np.random.default_rng


def weigh(files):
    """Bits weigh as much as their place, so the worst flips are those of zeros at the end."""
    bits = np.unpackbits(np.array([list(file) for file in files], np.uint8), axis=1)
    return bits @ np.arange(bits.shape[1], dtype=np.float64)


def flips(data, received):
    bits = [np.unpackbits(np.frombuffer(file, np.uint8)) for file in (data, received)]
    return np.flatnonzero(bits[0] != bits[1]).tolist()


@dataclass(frozen=True)
class Raw(Codec):
    """One row of gray pixels; a file that starts with 255 does not decode, one with 254 has another size."""

    name: ClassVar[str] = "raw"

    def encode(self, image, priority=None):
        return image[0, :, 0].tobytes()

    def decode_many(self, files, upto=1.0):
        return [self._decode(data) for data in files]

    def _decode(self, data):
        if data[0] == 255:
            return DecodeResult(None, Status.FAILED, error="no")
        row = np.frombuffer(data, np.uint8)[None, data[0] == 254 :, None]
        return DecodeResult(np.repeat(row, 3, axis=2), Status.OK)


def test_spelling():
    channel = TargetedChannel(flips=3, budget=40)
    assert registry.channel(str(channel)) == channel
    assert str(channel.aimed(weigh)) == str(channel) == "targeted[flips=3,budget=40]"
    assert BinarySymmetricChannel().aimed(weigh) == BinarySymmetricChannel()


def test_without_a_judge_it_says_what_it_needs():
    with pytest.raises(SpecError, match=r"targeted\[flips=8,budget=512\] needs a judge, which knows the codec"):
        TargetedChannel().corrupt(b"ab", RNG(0))


def test_with_time_for_every_bit_it_finds_the_worst():
    data = bytes(8)
    received = TargetedChannel(flips=3, budget=3 * 64).aimed(weigh).send(data, RNG(0))
    assert flips(data, received) == [61, 62, 63]


def test_it_flips_as_many_as_asked_and_never_one_twice():
    data = b"\xff" * 4
    for wanted, expected in ((5, 5), (32, 32), (100, 32)):
        received = TargetedChannel(wanted, budget=10 * wanted).aimed(weigh).send(data, RNG(1))
        assert len(flips(data, received)) == expected
    assert TargetedChannel().aimed(weigh).send(b"", RNG(0)) == b""


def test_the_budget_is_kept_and_draws_follow_the_generator():
    shown = []

    def counting(files):
        shown.append(len(files))
        return weigh(files)

    aimed = TargetedChannel(flips=3, budget=200).aimed(counting)
    data = RNG(0).bytes(100)
    assert aimed.send(data, RNG(7)) == aimed.send(data, RNG(7)) != aimed.send(data, RNG(8))
    assert sum(shown) == 3 * 3 * 66
    assert max(shown) <= 32


def test_a_larger_budget_does_more_harm_and_any_more_than_chance():
    data = bytes(100)
    harm = [
        np.mean([weigh([TargetedChannel(4, budget).aimed(weigh).send(data, RNG(i))])[0] for i in range(20)])
        for budget in (4, 16, 256)
    ]
    assert harm[0] < harm[1] < harm[2]


@pytest.mark.parametrize("judged", [[1.0], [[1.0] * 4] * 8, np.nan], ids=["few", "many", "nan"])
def test_a_bad_judge_is_refused(judged):
    aimed = TargetedChannel(1, 32).aimed(lambda files: judged if judged is not np.nan else [np.nan] * len(files))
    with pytest.raises(SpecError, match="expected a judge with 32 numbers"):
        aimed.send(bytes(8), RNG(0))


def test_pictures_are_judged_by_their_error():
    picture = np.repeat(np.array([[10, 20, 30, 41]], np.uint8)[..., None], 3, axis=2)
    judge = PictureJudge(Raw(), picture)
    gray = np.mean((128 - picture.astype(float)) ** 2)
    files = [bytes([10, 20, 30, 41]), bytes([12, 20, 30, 41]), bytes([255, 20, 30, 41]), bytes([254, 20, 30, 41])]
    assert judge(files).tolist() == [0, 1, gray, gray]
    with pytest.raises(ImageError, match="expected uint8"):
        PictureJudge(Raw(), picture[0])


def test_the_highest_bits_of_pixels_are_worst():
    picture = np.full((1, 20, 3), 64, np.uint8)
    data = Raw().encode(picture)
    received = TargetedChannel(4, 4 * 160).aimed(PictureJudge(Raw(), picture)).send(data, RNG(0))
    assert len(flips(data, received)) == 4
    assert all(place % 8 == 0 for place in flips(data, received))
