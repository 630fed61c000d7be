"""The training program of the codec hyperprior."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from conftest import photograph
from flipproof.codec.hyperprior import HyperpriorCodec
from flipproof.errors import ImageError, WeightsError
from flipproof.learned.hyperprior import Hyperprior
from flipproof.train import hyperprior as program
from flipproof.train.cli import app
from flipproof.train.data import PhotoSet
from flipproof.train.hyperprior import Recipe, Trainer, rate_distortion, train
from flipproof.train.pyramid import Pyramid
from flipproof.train.relaxation import relax

RECIPE = Recipe(seconds=1e6, batch=2, patch=64, warmup=2)


@pytest.fixture(scope="module")
def photos():
    return PhotoSet(((photograph(140, 150),), (photograph(70, 80, 1), photograph(64, 64, 2))))


@pytest.fixture
def clock(monkeypatch):
    """Time by steps: the schedule does not depend on the machine."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(program.time, "monotonic", lambda: float(next(ticks)))


def fresh(recipe=RECIPE):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Trainer(recipe, Hyperprior())


def test_crops_come_from_photographs_at_every_scale_that_fits(photos):
    pyramid = Pyramid(photos, 64)
    assert [[sorted(scales) for scales in group] for group in pyramid.groups] == [[[1, 2]], [[1], [1]]]
    crops = pyramid.draw(5, np.random.default_rng(0))
    assert (crops.shape, crops.dtype) == ((5, 3, 64, 64), np.uint8)
    assert (crops == pyramid.draw(5, np.random.default_rng(0))).all()


def test_photographs_too_small_for_a_crop_are_refused(photos):
    assert len(Pyramid(photos, 128).groups) == 1
    with pytest.raises(ImageError, match="at least 256 pixels"):
        Pyramid(photos, 256)


def test_a_resumed_run_repeats_an_uninterrupted_one(photos, clock, tmp_path):
    pyramid = Pyramid(photos, 64)
    whole, first, second = fresh(), fresh(), Trainer(RECIPE, Hyperprior())
    losses = [whole.advance(pyramid)["loss"] for _ in range(2)]
    before = [first.advance(pyramid)["loss"]]
    first.save(tmp_path / "checkpoint.safetensors")
    second.restore(tmp_path / "checkpoint.safetensors")
    assert (second.step, second.seconds) == (1, first.seconds)
    assert [*before, second.advance(pyramid)["loss"]] == pytest.approx(losses, rel=1e-3)


def test_other_files_are_no_checkpoints(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a training checkpoint"):
        fresh().restore(tmp_path / "checkpoint.safetensors")


def test_the_learning_rate_rises_by_steps_and_falls_with_time():
    recipe = Recipe(seconds=100, warmup=10, learning_rate=1.0)
    assert recipe.rate_at(0, 0) == pytest.approx(0.1)
    assert recipe.rate_at(9, 0) == 1
    assert recipe.rate_at(1000, 50) == pytest.approx(0.505)
    assert recipe.rate_at(1000, 200) == pytest.approx(0.01)


def test_gradients_reach_every_parameter():
    net = fresh().net
    net.hyper_analysis[-1].weight.data.mul_(100)  # at first, all hyper-latents round to zero
    x = torch.from_numpy(photograph(64, 64).transpose(2, 0, 1).copy())[None].float() / 255
    generator = torch.Generator().manual_seed(0)
    result = relax(net, x.expand(2, -1, -1, -1), torch.tensor([0.3, 4.9]), generator)
    (result.bits + result.hyper_bits + 1e4 * (result.x - x).square().mean((1, 2, 3))).sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 0, name


def test_noise_costs_about_what_rounding_costs():
    """Densities with noise are probabilities of rounded values, on average."""
    net = fresh().net
    x = torch.from_numpy(photograph(128, 128).transpose(2, 0, 1).copy())[None].float() / 255
    with torch.no_grad():
        noisy = relax(net, x, torch.tensor([3.0]), torch.Generator().manual_seed(0))
        rounded = relax(net, x, torch.tensor([3.0]), None)
    assert noisy.bits.item() == pytest.approx(rounded.bits.item(), rel=0.1)
    assert torch.equal(noisy.x, rounded.x)


def test_training_leaves_weights_that_the_codec_can_use(photos, clock, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(photograph(256, 256)).save(pictures / "a.png")
    rows = []
    trainer = fresh(Recipe(seconds=2, batch=2, patch=64, warmup=2))
    train(trainer, Pyramid(photos, 64), tmp_path, rows.append, lambda net: rate_distortion(net, pictures), every=1)
    assert [row["step"] for row in rows] == [1, 2]
    assert {"loss", "bpp", "mse", "bpp@0", "psnr@5"} <= rows[-1].keys()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[1]) == rows[1]
    codec = HyperpriorCodec(weights=str(tmp_path / "hyperprior.safetensors"))
    assert codec.decode(codec.encode(photograph(70, 60))).picture.shape == (70, 60, 3)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ImageError, match="expected PNG files"):
        rate_distortion(Hyperprior(), tmp_path)


def test_the_command_trains_and_resumes(photos, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(PhotoSet, "load", lambda _: photos)
    run = ["hyperprior", "--data", "unused", "--out", str(tmp_path), "--patch", "64", "--batch", "2", "--every", "0"]
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng():
            assert CliRunner().invoke(app, [*run, "--minutes", "0.01"]).exit_code == 0
            assert CliRunner().invoke(app, [*run, "--minutes", "0.03", "--resume"]).exit_code == 0
            assert isinstance(CliRunner().invoke(app, [*run, "--patch", "65"]).exception, Exception)
    finally:
        torch.set_num_threads(threads)
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [1, 2]
