from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import photograph
from flipproof.errors import ImageError, WeightsError
from flipproof.prior.small import SmallPrior
from flipproof.prior.unet import UNet
from flipproof.train.data import PhotoSet
from flipproof.train.loop import Recipe, Trainer, train
from flipproof.train.yardstick import SIGMAS, yardstick

RECIPE = Recipe(steps=4, batch=2, patch=32, warmup=2)


@pytest.fixture
def folder(tmp_path):
    """Two photographs, one of them in two files."""
    rows = [("a.png", "one"), ("b.png", "one"), ("c.png", "two")]
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for seed, (name, _) in enumerate(rows):
            buffer = io.BytesIO()
            Image.fromarray(photograph(70, 80, seed)).save(buffer, "PNG")
            member = tarfile.TarInfo(name)
            member.size = len(buffer.getvalue())
            buffer.seek(0)
            tar.addfile(member, buffer)
    (tmp_path / "index.tsv").write_text("file\torigin\n" + "".join(f"{f}\t{o}\n" for f, o in rows))
    return tmp_path


def fresh():
    torch.manual_seed(0)
    return Trainer(RECIPE, UNet(), "cpu")


def test_photographs_are_grouped_by_origin(folder):
    photos = PhotoSet.load(folder)
    assert sorted(len(group) for group in photos.groups) == [1, 2]
    patches = photos.patches(5, 32, np.random.default_rng(0))
    assert patches.shape == (5, 3, 32, 32)
    assert np.abs(patches).max() <= 1
    assert (patches == photos.patches(5, 32, np.random.default_rng(0))).all()


def test_a_resumed_run_repeats_an_uninterrupted_one(folder):
    photos = PhotoSet.load(folder)
    whole, first = fresh(), fresh()
    losses = [whole.advance(photos) for _ in range(4)]
    before = [first.advance(photos) for _ in range(2)]
    first.save(folder / "checkpoint.safetensors")
    second = Trainer(RECIPE, UNet(), "cpu")
    second.restore(folder / "checkpoint.safetensors")
    after = [second.advance(photos) for _ in range(2)]
    assert before + after == pytest.approx(losses, rel=1e-5)
    for name, tensor in whole.weights().items():
        assert torch.allclose(tensor.float(), second.weights()[name].float(), atol=1e-4)


def test_training_writes_weights_that_load(folder):
    rows = []
    train(
        fresh(),
        PhotoSet.load(folder),
        folder / "out",
        rows.append,
        lambda net: {"params": sum(p.numel() for p in net.parameters())},
        every=3,
    )
    assert [row["step"] for row in rows] == [3, 4]
    assert [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()] == rows
    prior = SmallPrior.from_bytes((folder / "out" / "small.safetensors").read_bytes())
    assert prior.denoise(torch.zeros(1, 3, 16, 16), 0.5).shape == (1, 3, 16, 16)


def test_what_is_no_checkpoint_or_data_says_so(folder):
    (folder / "bad.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="is not a training checkpoint"):
        fresh().restore(folder / "bad.safetensors")
    with pytest.raises(ImageError, match=r"expected index\.tsv"):
        PhotoSet.load(folder / "nowhere")
    (folder / "photos.tar").unlink()
    with pytest.raises(ImageError, match="got none"):
        PhotoSet.load(folder)


def test_photographs_smaller_than_a_patch_are_an_error(folder):
    with pytest.raises(ImageError, match="at least 96 pixels"):
        PhotoSet.load(folder).patches(1, 96, np.random.default_rng(0))


def test_the_learning_rate_warms_up_and_decays():
    rates = [Recipe(steps=100, warmup=10).rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(5e-5)
    assert max(rates) == rates[9] == pytest.approx(5e-4)
    assert rates[99] < 1e-5
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_yardstick_measures_every_noise_level(tmp_path):
    for seed, name in enumerate(("05", "08", "19", "23")):
        Image.fromarray(photograph(256, 256, seed)).save(tmp_path / f"{name}.png")
    rows = yardstick(SmallPrior.load(), tmp_path)
    assert set(rows) == {f"{task}/{sigma}" for task in ("denoise", "refine") for sigma in SIGMAS}
    assert rows["denoise/5"] > rows["denoise/50"] > rows["denoise/255"]
    with pytest.raises(ImageError, match="the yardstick needs"):
        yardstick(SmallPrior.load(), tmp_path / "nowhere")
