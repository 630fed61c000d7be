"""The weights in the package: several of them, so that files made with older ones decode."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

import flipproof
from conftest import photograph
from flipproof import registry
from flipproof.codec.tracks import TracksCodec
from flipproof.errors import UnknownNameError, WeightsError
from flipproof.prior import shipped
from flipproof.prior.load import load_prior, prior_digest, require_prior
from flipproof.prior.shipped import SHIPPED, ShippedWeights, weights_for
from flipproof.prior.small import SmallPrior
from flipproof.prior.unet import UNet
from flipproof.result import Status

TINY = {"widths": (4, 8), "encoder_blocks": (1, 2), "decoder_blocks": (2,), "embedding": 6, "frequencies": 3}


def state(**sizes):
    torch.manual_seed(0)
    return UNet(**{**TINY, **sizes}).state_dict()


def header_only(**entry):
    """A safetensors file of one tensor of zeros."""
    header = json.dumps({"stem.bias": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(entry["data_offsets"][1])


# The network follows from the file


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"widths": (4,), "encoder_blocks": (3,), "decoder_blocks": ()},
        {"widths": (2, 4, 6), "encoder_blocks": (0, 1, 12), "decoder_blocks": (0, 3)},
        {"embedding": 9, "frequencies": 1},
    ],
)
def test_the_network_follows_from_its_tensors(sizes):
    expected = UNet(**{**TINY, **sizes}).eval()
    data = save(expected.state_dict())
    x, c, u = torch.randn(2, 3, 32, 48), torch.tensor([-1.0, 0.5]), torch.tensor([0.0, 1.0])
    for net in (UNet.from_bytes(data), SmallPrior.from_bytes(data).net):
        assert net.multiple == expected.multiple
        with torch.no_grad():
            assert torch.allclose(net(x, c, u), expected(x, c, u), atol=1e-5)


def test_loaded_networks_can_be_trained():
    net = SmallPrior.from_bytes(save(state())).net.train().requires_grad_(True)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    net(torch.randn(1, 3, 8, 8), torch.zeros(1), torch.zeros(1)).square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert "freqs" in dict(net.named_buffers())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": torch.zeros(3)}, "Unexpected key"),
        ({"stem.bias": torch.zeros(2**20)}, "size mismatch for stem.weight"),
        ({"embed.0.bias": torch.zeros(2**20)}, "size mismatch for embed.0.weight"),
        ({"down.0.bias": torch.zeros(2**20)}, "size mismatch for enc.1.0"),
        ({"freqs": torch.zeros(2**20)}, "size mismatch for embed.0.weight"),
        ({"stem.bias": torch.zeros(())}, r"expected a vector stem.bias, got \(\)"),
        ({"stem.bias": torch.zeros(0)}, r"expected a vector stem.bias, got \(0,\)"),
        (
            {"stem.bias": torch.zeros(4, dtype=torch.int8)},
            "expected floating-point numbers in stem.bias, got torch.int8",
        ),
        ({"enc.0.7.film.bias": torch.zeros(8)}, "Unexpected key"),
        ({f"enc.0.{i}.film.bias": torch.zeros(8) for i in range(500)}, "Missing key"),
        ({f"down.{i}.bias": torch.zeros(4) for i in range(64)}, "at most 7 scales, got 65"),
    ],
    ids=range(11),
)
def test_tensors_of_no_network_are_an_error(change, message):
    with pytest.raises(WeightsError, match=f"unreadable weights: .*{message}") as caught:
        UNet.from_bytes(save({**state(), **change}))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", sorted(state()))
def test_a_missing_tensor_is_an_error(name):
    left = {other: tensor for other, tensor in state().items() if other != name}
    with pytest.raises(WeightsError, match="unreadable weights"):
        UNet.from_bytes(save(left))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        bytes(100),
        save(state())[:-1],
        save({}),
        header_only(dtype="F4", shape=[2], data_offsets=[0, 1]),
        header_only(dtype="C64", shape=[2], data_offsets=[0, 16]),
        header_only(dtype="F32", shape=[2**40, 2**40], data_offsets=[0, 4]),
    ],
    ids=len,
)
@pytest.mark.parametrize("kind", [UNet, SmallPrior])
def test_unreadable_weights_are_an_error(data, kind):
    with pytest.raises(WeightsError, match="unreadable weights"):
        kind.from_bytes(data)


# The registry


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_what_their_digests_say(name):
    prior = load_prior(name)
    assert isinstance(prior, SmallPrior)
    assert prior.fingerprint == SHIPPED[name].fingerprint
    assert prior is SmallPrior.load(name=name)
    assert prior_digest(name) == SHIPPED[name].sha256
    require_prior(name)
    assert TracksCodec(prior=name).digests() == f"{name}:{SHIPPED[name].sha256}"


def test_small_is_one_of_the_numbered_ones():
    numbered = {name: weights for name, weights in SHIPPED.items() if name != "small"}
    assert SHIPPED["small"] in numbered.values()
    assert len(set(numbered.values())) == len({w.fingerprint for w in numbered.values()}) == len(numbered)


def test_every_weights_file_of_the_package_has_a_name():
    folder = resources.files("flipproof.prior") / "weights"
    files = {file.name for file in folder.iterdir() if file.name.startswith("small")}
    assert files == {weights.file for weights in SHIPPED.values()}


def test_no_weights_have_another_fingerprint():
    assert weights_for(SHIPPED["small"].fingerprint) == "small"
    assert weights_for(SHIPPED["small"].fingerprint ^ 1) is None


def test_altered_and_missing_weights_are_noticed():
    with pytest.raises(WeightsError, match=r"small-1\.safetensors are altered: expected SHA-256 0000"):
        replace(SHIPPED["small-1"], sha256="0" * 64).read()
    with pytest.raises(WeightsError, match=r"missing: .*small-0\.safetensors"):
        ShippedWeights("small-0.safetensors", "0" * 64).read()


@pytest.mark.parametrize("name", ["small-0", "small:", "small-1:", "Small", "diffuser", ""])
def test_there_is_no_such_prior(name):
    with pytest.raises(UnknownNameError, match=r"unknown prior .*known: small, .*small-1, diffusers:DIRECTORY"):
        load_prior(name)


def test_nothing_is_read_before_it_is_needed():
    code = """if True:
        import sys, flipproof
        from flipproof.prior import shipped
        assert "torch" not in sys.modules
        shipped.ShippedWeights.read = None
        from flipproof import registry
        from flipproof.prior.load import prior_digest, require_prior
        assert registry.codec("tracks").digests() == f"small:{prior_digest('small')}"
        require_prior("small-1")
    """
    subprocess.run([sys.executable, "-c", code], check=True)


# Files


@pytest.fixture
def renewed(monkeypatch):
    """The registry of a package with newer weights, whose network is a tiny one."""
    fresh = {name: tensor.half() for name, tensor in state().items()}
    fingerprint = SmallPrior.from_bytes(save(fresh)).fingerprint
    weights = ShippedWeights("small-999.safetensors", f"{fingerprint:08x}{'0' * 56}")
    monkeypatch.setattr(ShippedWeights, "read", _reader(ShippedWeights.read, weights, save(fresh)))
    monkeypatch.setitem(shipped.SHIPPED, "small", weights)
    monkeypatch.setitem(shipped.SHIPPED, "small-999", weights)
    return load_prior("small", precision="auto")


def _reader(read, weights, content):
    return lambda self: content if self == weights else read(self)


@pytest.mark.parametrize("spec", ["tracks[bpp=1]", "turbo-ddcm[count=12,atoms=512,steps=6,grid=2,free_steps=2]"])
def test_old_files_decode_without_options(spec, renewed):
    photo, codec = photograph(40, 56), registry.codec(spec)
    old, new = codec.with_parameters(prior="small-1").encode(photo), codec.encode(photo)
    assert old != new
    expected = codec.with_parameters(prior="small-1").decode(old).picture
    for result in (flipproof.decode(old), codec.decode(old), codec.decode_many([new, old])[1]):
        assert result.status is Status.OK
        assert np.array_equal(result.picture, expected)
    assert np.array_equal(flipproof.decode(new).picture, codec.with_parameters(prior=renewed).decode(new).picture)


def test_weights_that_were_asked_for_are_not_replaced(renewed):
    old = TracksCodec(bpp=1, prior="small-1").encode(photograph(40, 56))
    for prior in ("small-999", renewed):
        with pytest.raises(WeightsError, match=f"got {renewed.fingerprint:08x}"):
            TracksCodec(prior=prior).decode(old)


def test_a_file_of_unknown_weights_is_refused(renewed):
    stranger = SmallPrior(renewed.net, 0xDEADBEEF)
    data = TracksCodec(bpp=1, prior=stranger).encode(photograph(40, 56))
    there = ", ".join(f"{name} {weights.fingerprint:08x}" for name, weights in SHIPPED.items())
    expected = (
        f"expected the prior deadbeef of the file, got {renewed.fingerprint:08x} (small); the package has {there}; "
        "give the right one as prior=..."
    )
    with pytest.raises(WeightsError) as caught:
        flipproof.decode(data)
    assert str(caught.value) == expected
    assert {"small-1", "small-999"} <= SHIPPED.keys()
    assert TracksCodec().decode_many([data])[0].error == expected
    assert TracksCodec(prior=stranger).decode(data).status is Status.OK


def test_the_oldest_weights_load_as_they_did():
    tensors = load(SHIPPED["small-1"].read())
    net = load_prior("small-1").net
    assert {name: tuple(t.shape) for name, t in net.state_dict().items()} == {
        n: tuple(t.shape) for n, t in tensors.items()
    }
    assert all(torch.equal(tensor, tensors[name].float()) for name, tensor in net.state_dict().items())
