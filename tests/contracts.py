"""Checks that every codec, channel and selection protocol must pass; a new one gets them all from one call."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from flipproof import registry
from flipproof.channel.base import BitChannel, Channel
from flipproof.channel.bsc import BinarySymmetricChannel
from flipproof.codebook.rotated import RotatedCodebook
from flipproof.codec.base import Codec
from flipproof.metric.psnr import psnr
from flipproof.protocol.base import SelectionProtocol
from flipproof.received import Received, hard
from flipproof.result import Status
from flipproof.selection.base import Selection


def check_codec(codec: Codec, picture: NDArray[np.uint8], least_db: float) -> None:
    data = codec.encode(picture)
    assert data == codec.encode(picture), "encoding is repeatable"
    result = codec.decode(data)
    assert result.status is Status.OK
    assert result.codec == codec.name
    assert result.picture.shape == picture.shape
    assert result.picture.dtype == np.uint8
    assert psnr(result.picture, picture) >= least_db
    check_spelling(codec)
    check_split(codec, data)
    check_weights(codec)
    check_batches(codec, data)
    check_any_bytes(codec, data)


def check_spelling(codec: Codec) -> None:
    assert registry.codec(str(codec)) == codec
    assert json.loads(json.dumps(codec.get_config()))["codec"] == codec.name
    assert eval(repr(codec), {type(codec).__name__: type(codec)}) == codec
    assert pickle.loads(pickle.dumps(codec)) == codec, "codecs go to other processes"


def check_split(codec: Codec, data: bytes) -> None:
    """Every bit of a file belongs to one part."""
    split = codec.split(data)
    assert split == codec.split(data)
    assert sum(astuple(split)) == split.total == 8 * len(data)
    assert all(type(bits) is int and bits >= 0 for bits in astuple(split))
    assert split.indices > 0


def check_weights(codec: Codec) -> None:
    """A codec that works here says so, and which weights it has."""
    codec.require()
    for digest in filter(None, codec.digests().split(",")):
        assert re.fullmatch(r"[\w-]+:[0-9a-f]{64}", digest)


def check_batches(codec: Codec, data: bytes) -> None:
    """Decoding many at once gives what decoding one by one gives."""
    channel = BinarySymmetricChannel(2e-3)
    files = [data, b"", *(channel.corrupt(data, np.random.default_rng(i)) for i in range(3)), data[:-3]]
    for one, of_many in zip((codec.decode_many([file])[0] for file in files), codec.decode_many(files), strict=True):
        assert (one.status, one.damage, one.error) == (of_many.status, of_many.damage, of_many.error)
        if one.image is not None:
            assert psnr(one.picture, of_many.picture) > 50


def check_any_bytes(codec: Codec, data: bytes) -> None:
    """Whatever the bytes, decoding returns a result: a picture, or the reason why there is none."""
    rng = np.random.default_rng(0)
    files = [data[:n] for n in (1, 4, 40, 68, 100, len(data) // 2, len(data) - 1)]
    files += [data + b"more", bytes(len(data)), rng.bytes(50), rng.bytes(2 * len(data)), data[::-1]]
    files += [BinarySymmetricChannel(rate).corrupt(data, rng) for rate in (1e-3, 1e-2, 3e-2, 0.1, 0.5)]
    for result in codec.decode_many(files):
        assert (result.image is None) == (result.status is Status.FAILED)
        assert bool(result.error) == (result.status is Status.FAILED)


def check_protocol(protocol: SelectionProtocol, selection: Any, size: int = 60) -> None:
    """Steps come back from their bits; any bits are read; unknown ones change nothing.

    Arguments:
        protocol: What to check.
        selection: What an encoder may select, for one chain.
        size: Samples of a step.
    """
    codebook = RotatedCodebook(-(-size // protocol.parts), protocol.atoms, step=0)
    known = np.ones(protocol.bits, dtype=bool)

    def noise(bits: NDArray[np.uint8], known: NDArray[np.bool_] = known) -> Tensor:
        return protocol.read(bits, known).to("cpu").steer(codebook)

    bits = protocol.write(selection)
    assert (bits.shape, bits.dtype) == ((protocol.bits,), np.uint8)
    assert protocol.sign_bits == _signs(protocol, bits)
    assert set(np.unique(bits)) <= {0, 1}
    assert protocol.faults(bits[None]).tolist() == [0]
    assert (protocol.write(protocol.read(bits[None], known)) == bits).all()
    assert torch.allclose(noise(bits[None]), selection.steer(codebook), atol=1e-4)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def any_bits_read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        received = rng.integers(0, 2, (3, protocol.bits), dtype=np.uint8)
        assert noise(received).shape == (3, size)
        assert noise(received).isfinite().all()
        assert torch.allclose(noise(received)[1:2], noise(received[1:2]), atol=1e-4)
        assert protocol.faults(received).shape == (3,)
        assert (protocol.faults(received) >= 0).all()
        arrived = rng.random(protocol.bits) < rng.random()
        other = np.where(arrived, received, rng.integers(0, 2, received.shape, dtype=np.uint8))
        assert torch.equal(noise(received, arrived), noise(other, arrived))

    any_bits_read()


def _signs(protocol: SelectionProtocol, bits: NDArray[np.uint8]) -> int:
    """Counts the bits of a step that can be flipped without another atom coming in."""
    flipped = np.vstack([bits, bits ^ np.eye(len(bits), dtype=np.uint8)])
    read: Any = protocol.read(flipped, np.ones(len(bits), bool))
    atoms = next(getattr(read, name) for name in ("atoms", "seeds", "chosen") if hasattr(read, name))
    return int((atoms[1:] == atoms[0]).all(dim=1).sum())


def pairs(selection: Selection, row: int) -> set[tuple[int, float]]:
    return set(zip(selection.atoms[row].tolist(), selection.signs[row].tolist(), strict=True))


def check_channel(channel: Channel) -> None:
    """A channel draws from the given generator only, comes back from its spelling, and sends any file."""
    assert channel == registry.channel(str(channel))
    assert hash(channel) == hash(registry.channel(str(channel)))
    if isinstance(channel, BitChannel):
        check_bits(channel)
    for data in (b"", b"\x5a", bytes(range(256)) * 3):
        check_file(channel, data)


def check_bits(channel: BitChannel) -> None:
    """A channel of bits keeps shape and alphabet, and leaves its input alone."""
    bits = np.random.default_rng(0).integers(0, 2, (3, 1000), dtype=np.uint8)
    before = bits.copy()
    received = channel(bits, np.random.default_rng(1))
    assert received.shape == bits.shape
    assert received.dtype == np.uint8
    assert set(np.unique(received)) <= {0, 1}
    assert (bits == before).all()
    assert not np.shares_memory(received, bits)
    assert (received == channel(bits, np.random.default_rng(1))).all()
    assert (channel(bits.T, np.random.default_rng(1)).shape) == bits.T.shape
    assert channel(bits[:0], np.random.default_rng(1)).shape == (0, 1000)


def check_file(channel: Channel, data: bytes) -> None:
    """What arrives is repeatable; hard and soft decisions agree; bits and files meet the same damage."""
    sent = channel.send(data, np.random.default_rng(1))
    received = channel.corrupt(data, np.random.default_rng(1))
    assert hard(sent) == received == channel.corrupt(data, np.random.default_rng(1))
    if isinstance(channel, BitChannel):
        bits = np.unpackbits(np.frombuffer(data, np.uint8))
        assert np.packbits(channel(bits, np.random.default_rng(1))).tobytes() == received
    if isinstance(sent, Received):
        again = channel.send(data, np.random.default_rng(1))
        assert np.array_equal(sent.llr, again.llr)
        assert sent.llr.dtype == np.float32
        says = np.unpackbits(np.frombuffer(sent.data, np.uint8))
        assert (says == (sent.llr < 0))[sent.llr != 0].all()
