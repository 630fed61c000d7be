from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import numpy as safetensors
from typer.testing import CliRunner

from flipproof.errors import WeightsError
from flipproof.weights import cli
from flipproof.weights.catalogue import INCEPTION, RELEASES, Member, Release, find
from flipproof.weights.convert import inception
from flipproof.weights.fetch import fetch
from flipproof.weights.state_dict import read_state_dict
from flipproof.weights.store import Derived


def tensors():
    rng = np.random.default_rng(4)
    return {
        "a.conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "a.bn.weight": rng.normal(size=4).astype(np.float32),
        "a.bn.num_batches_tracked": np.int64(7).reshape(()),
        "fc.weight": rng.normal(size=(5, 4)).astype(np.float32),
    }


def torch_file(values, zipped):
    """A file as PyTorch writes it for a module's tensors, since 1.6 or before."""
    module = torch.nn.Module()
    for name, array in values.items():
        *path, last = name.split(".")
        part = module
        for step in path:
            if not hasattr(part, step):
                part.add_module(step, torch.nn.Module())
            part = getattr(part, step)
        part.register_buffer(last, torch.tensor(array))
    file = io.BytesIO()
    torch.save(module.state_dict(), file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLIPPROOF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def release(folder):
    """A release of one file in a folder, and the file."""
    file = folder / "net.pth"
    file.write_bytes(torch_file(tensors(), zipped=False))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    stored = Derived("net", digest, "net")
    return Release("net", file.as_uri(), digest, 0.01, "MIT", (Member(None, stored, inception),)), file


# Reading.


@pytest.mark.parametrize("zipped", [False, True])
def test_tensors_are_read_as_pytorch_would(zipped):
    found = read_state_dict(torch_file(tensors(), zipped))
    assert list(found) == list(tensors())
    for name, expected in tensors().items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("zipped", [False, True])
def test_views_of_a_storage_are_read_where_they_are_rows(zipped):
    whole = torch.arange(24.0).reshape(4, 6)
    file = io.BytesIO()
    torch.save({"rows": whole[1:3], "all": whole}, file, _use_new_zipfile_serialization=zipped)
    found = read_state_dict(file.getvalue())
    np.testing.assert_array_equal(found["rows"], whole[1:3])
    np.testing.assert_array_equal(found["all"], whole)
    file = io.BytesIO()
    torch.save({"turned": whole.T}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="expected a tensor turned of plain values"):
        read_state_dict(file.getvalue())


class Bomb:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_command_is_not_run(tmp_path, zipped):
    file = io.BytesIO()
    torch.save({"a": Bomb(f"touch {tmp_path / 'trace'}")}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="expected a tensor a of plain values"):
        read_state_dict(file.getvalue())
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("zipped", [False, True])
@settings(max_examples=60)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(zipped, data):
    whole = bytearray(torch_file(tensors(), zipped))
    for _ in range(3):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(whole)))
    for damaged in (bytes(whole), bytes(whole[:length])):
        with suppress(WeightsError):
            read_state_dict(damaged)


def test_a_zip_whose_directory_promises_too_much_is_refused():
    whole = bytearray(torch_file(tensors(), True))
    for entry in re.finditer(rb"PK\x01\x02", bytes(whole)):
        whole[entry.start() + 20 : entry.start() + 28] = (len(whole) * 2).to_bytes(4, "little") * 2
    with pytest.raises(WeightsError):
        read_state_dict(bytes(whole))


def test_other_files_are_refused():
    plain = io.BytesIO()
    torch.save([torch.zeros(2)], plain)
    with pytest.raises(WeightsError, match="expected a dictionary of tensors, got list"):
        read_state_dict(plain.getvalue())
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    with pytest.raises(WeightsError, match="expected a PyTorch file, got one that is damaged"):
        read_state_dict(empty.getvalue())


# Conversion.


def test_the_layers_of_the_network_are_kept():
    found = inception(torch_file(tensors(), zipped=False))
    assert sorted(found) == ["a.bn.weight", "a.conv.weight"]
    with pytest.raises(WeightsError, match="expected the layers of an Inception network, got none"):
        inception(torch_file({"fc.weight": np.zeros(2, np.float32)}, zipped=True))
    with pytest.raises(WeightsError, match=r"expected a\.conv\.weight to be float32, got float64"):
        inception(torch_file({"a.conv.weight": np.zeros(2)}, zipped=True))


# Fetching.


def test_a_file_comes_from_its_address(tmp_path, cache):
    source, _ = release(tmp_path)
    fetch(source)
    assert source.ready
    assert sorted(source.members[0].stored.load()) == ["a.bn.weight", "a.conv.weight"]
    assert [path.name for path in cache.iterdir()] == ["weights"]


def test_a_file_at_hand_is_checked_and_converted_once(tmp_path):
    source, file = release(tmp_path)
    fetch(source, file)
    file.unlink()
    fetch(source)
    assert source.ready


def test_a_file_that_is_not_there_is_said_with_the_way_by_hand(tmp_path, cache):
    source, file = release(tmp_path)
    file.unlink()
    way = r"where that works, download that file; then here: flipproof weights fetch net --source FILE"
    with pytest.raises(WeightsError, match=rf"could not download file://.*net\.pth \(.*No such file.*\); {way}"):
        fetch(source)
    assert list(cache.iterdir()) == []


def test_another_file_is_refused_and_no_more_of_it_read_than_there_should_be(tmp_path):
    source, file = release(tmp_path)
    file.write_bytes(bytes(3 * 10**6))
    most = hashlib.sha256(bytes(10**6 + 10**4)).hexdigest()
    with pytest.raises(WeightsError, match=rf"SHA-256 {source.sha256}, got file with {most}"):
        fetch(source)
    assert not source.ready


def test_altered_tensors_and_those_of_another_file_are_noticed(tmp_path):
    source, file = release(tmp_path)
    fetch(source, file)
    stored = source.members[0].stored
    kept, good = stored.load(), stored.path.read_bytes()
    metadata = {"origin": stored.digest, "tensors": "0" * 64}
    for bad in (good[:-1] + b"\xff", safetensors.save(dict(kept)), safetensors.save(dict(kept), metadata), good[:-1]):
        stored.path.write_bytes(bad)
        with pytest.raises(WeightsError, match=r"net\.safetensors is damaged .* run: flipproof weights fetch net"):
            stored.load()
    stored.path.write_bytes(good)
    assert not replace(stored, digest="1" * 64).ready


def test_inception_is_pinned_and_only_fetched_by_name():
    source = find("inception")
    assert source in RELEASES
    assert source.sha256 == INCEPTION.digest
    assert source.requirement.startswith("https://")
    assert source.sha256[:8] in source.requirement
    listed = CliRunner().invoke(cli.app, ["list"], env={"COLUMNS": "300"})
    assert "pt_inception" in listed.output.replace("\n", "")
