"""The training program of the codec hyperprior."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from conftest import photograph
from flipproof.codec.hyperprior import HyperpriorCodec
from flipproof.errors import ImageError
from flipproof.learned.hyperprior import Hyperprior
from flipproof.train.cli import app
from flipproof.train.data import PhotoSet
from flipproof.train.hyperprior import PACE, HyperpriorTrainer, Recipe, rate_distortion
from flipproof.train.loop import CHECKPOINT, train
from flipproof.train.relaxation import relax
from training import clock  # noqa: F401 (a fixture)

RECIPE = Recipe(replace(PACE, seconds=1e6, warmup=2), batch=2, patch=64)


@pytest.fixture(scope="module")
def photos():
    return PhotoSet(((photograph(140, 150),), (photograph(70, 80, 1), photograph(64, 64, 2))))


def fresh(photos, recipe=RECIPE):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HyperpriorTrainer(recipe, Hyperprior(), photos)


def test_a_resumed_run_repeats_an_uninterrupted_one(photos, clock, tmp_path):  # noqa: F811
    whole, first, second = fresh(photos), fresh(photos), fresh(photos, replace(RECIPE, seed=1))
    losses = [whole.advance()["loss"] for _ in range(2)]
    before = [first.advance()["loss"]]
    first.save(tmp_path / CHECKPOINT)
    second.restore(tmp_path / CHECKPOINT)
    assert (second.step, second.seconds) == (1, first.seconds)
    assert [*before, second.advance()["loss"]] == pytest.approx(losses, rel=1e-3)


def test_photographs_too_small_for_a_crop_are_refused(photos):
    with pytest.raises(ImageError, match="at least 256 pixels"):
        fresh(photos, replace(RECIPE, patch=256))


def test_gradients_reach_every_parameter(photos):
    net = fresh(photos).learner.net
    net.hyper_analysis[-1].weight.data.mul_(100)  # at first, all hyper-latents round to zero
    x = torch.from_numpy(photograph(64, 64).transpose(2, 0, 1).copy())[None].float() / 255
    generator = torch.Generator().manual_seed(0)
    result = relax(net, x.expand(2, -1, -1, -1), torch.tensor([0.3, 4.9]), generator)
    (result.bits + result.hyper_bits + 1e4 * (result.x - x).square().mean((1, 2, 3))).sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 0, name


def test_noise_costs_about_what_rounding_costs(photos):
    """Densities with noise are probabilities of rounded values, on average."""
    net = fresh(photos).learner.net
    x = torch.from_numpy(photograph(128, 128).transpose(2, 0, 1).copy())[None].float() / 255
    with torch.no_grad():
        noisy = relax(net, x, torch.tensor([3.0]), torch.Generator().manual_seed(0))
        rounded = relax(net, x, torch.tensor([3.0]), None)
    assert noisy.bits.item() == pytest.approx(rounded.bits.item(), rel=0.1)
    assert torch.equal(noisy.x, rounded.x)


def test_training_leaves_weights_that_the_codec_can_use(photos, clock, tmp_path):  # noqa: F811
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(photograph(256, 256)).save(pictures / "a.png")
    rows = []
    trainer = fresh(photos, replace(RECIPE, pace=replace(PACE, seconds=2, warmup=2)))
    train(trainer, tmp_path, rows.append, lambda: rate_distortion(trainer.learner.averaged(), pictures), every=1)
    assert [row["step"] for row in rows] == [1, 2]
    assert {"loss", "bpp", "mse", "bpp@0", "psnr@5"} <= rows[-1].keys()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[1]) == rows[1]
    codec = HyperpriorCodec(weights=str(tmp_path / "hyperprior.safetensors"))
    assert codec.decode(codec.encode(photograph(70, 60))).picture.shape == (70, 60, 3)


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ImageError, match="expected PNG files"):
        rate_distortion(Hyperprior(), tmp_path)


def test_the_command_trains_and_resumes(photos, clock, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(PhotoSet, "load", lambda _: photos)
    run = ["hyperprior", "--data", "unused", "--out", str(tmp_path), "--patch", "64", "--batch", "2", "--every", "0"]
    with torch.random.fork_rng():
        assert CliRunner().invoke(app, [*run, "--minutes", "0.01"]).exit_code == 0
        assert CliRunner().invoke(app, [*run, "--minutes", "0.03", "--resume"]).exit_code == 0
        assert isinstance(CliRunner().invoke(app, [*run, "--patch", "65"]).exception, Exception)
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [1, 2]
