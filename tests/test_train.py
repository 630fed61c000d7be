"""The training program of the small prior."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from conftest import photograph
from flipproof.errors import ImageError, SpecError, WeightsError
from flipproof.prior.small import SmallPrior, precondition
from flipproof.prior.unet import UNet
from flipproof.train import small as program
from flipproof.train.checkpoint import write_tensors
from flipproof.train.cli import _network, app
from flipproof.train.data import PhotoSet
from flipproof.train.error import log_error
from flipproof.train.loop import CHECKPOINT, train
from flipproof.train.pyramid import Pyramid
from flipproof.train.small import PoolPlan, Recipe, SmallTrainer
from flipproof.train.yardstick import SIGMAS, yardstick
from training import clock  # noqa: F401 (a fixture)

POOLS = (PoolPlan((1, 2), size=32, count=3, odds=0.6), PoolPlan((2, 4), size=16, count=4, odds=0.4))
RECIPE = Recipe(replace(program.PACE, seconds=4, warmup=2), POOLS)


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


@pytest.fixture
def photos():
    return PhotoSet(((photograph(70, 80),), (photograph(90, 70, 1),)))


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet((4, 6), (1, 1), (1,), embedding=8)


def fresh(photos, recipe=RECIPE, seed=0):
    return SmallTrainer(recipe, network(seed), photos)


def test_photographs_are_grouped_by_origin(folder):
    assert sorted(len(group) for group in PhotoSet.load(folder).groups) == [1, 2]


def test_what_is_no_data_says_so(folder):
    with pytest.raises(ImageError, match=r"expected index\.tsv"):
        PhotoSet.load(folder / "nowhere")
    (folder / "photos.tar").unlink()
    with pytest.raises(ImageError, match="got none"):
        PhotoSet.load(folder)


def test_crops_come_from_photographs_at_every_scale_that_fits():
    photos = PhotoSet(((photograph(140, 150),), (photograph(70, 80, 1), photograph(64, 64, 2))))
    pyramid = Pyramid(photos, 64)
    shapes = [[[photo.shape[0] for photo in averages] for averages in group] for group in pyramid.groups]
    assert shapes == [[[140, 140, 70, 70]], [[70, 70], [64, 64]]]
    crops = pyramid.draw(5, np.random.default_rng(0))
    assert (crops.shape, crops.dtype) == ((5, 3, 64, 64), np.uint8)
    assert (crops == pyramid.draw(5, np.random.default_rng(0))).all()


def test_scales_are_averages_over_blocks():
    photo = photograph(36, 35)
    ((averages,),) = Pyramid(PhotoSet(((photo,),)), 16, (2, 1)).groups
    blocks = photo[:36, :34].astype(float).reshape(18, 2, 17, 2, 3).mean((1, 3))
    assert (averages[0] == np.floor(blocks + 0.5)).all()
    assert (averages[1] == photo).all()


def test_photographs_too_small_for_a_crop_are_refused(photos):
    assert len(Pyramid(photos, 70).groups) == 2
    assert len(Pyramid(photos, 16, (2, 4)).groups) == 2
    with pytest.raises(ImageError, match="at least 256 pixels"):
        Pyramid(photos, 64, (4, 8))


def test_a_resumed_run_repeats_an_uninterrupted_one(photos, clock, tmp_path):  # noqa: F811
    whole, first, second = fresh(photos), fresh(photos), fresh(photos, replace(RECIPE, seed=7), seed=1)
    losses = [whole.advance()["loss"] for _ in range(4)]
    before = [first.advance()["loss"] for _ in range(2)]
    first.save(tmp_path / CHECKPOINT)
    second.restore(tmp_path / CHECKPOINT)
    assert before + [second.advance()["loss"] for _ in range(2)] == pytest.approx(losses, rel=1e-5)
    for name, tensor in whole.weights().items():
        assert torch.allclose(tensor.float(), second.weights()[name].float(), atol=1e-4)


def test_a_checkpoint_of_other_pools_is_refused(photos, tmp_path):
    fresh(photos).save(tmp_path / CHECKPOINT)
    with pytest.raises(WeightsError, match=r"is not a training checkpoint: expected chains with x of shape \(4, "):
        fresh(photos, replace(RECIPE, pools=POOLS[::-1])).restore(tmp_path / CHECKPOINT)


def test_training_learns(photos, clock):  # noqa: F811
    """A network from nothing gets better, with and without rounding."""
    for bfloat16 in (False, True):
        pace = replace(RECIPE.pace, seconds=60, learning_rate=5e-3)
        trainer = fresh(photos, replace(RECIPE, pace=pace, bfloat16=bfloat16))
        first = trainer.learner.averaged()
        for _ in range(60):
            trainer.advance()
        chains = fresh(photos, seed=1).pools[0].chains
        before, after = (
            log_error(precondition(net, chains.y, chains.sigma, chains.refine), chains.x, chains.sigma).item()
            for net in (first, trainer.learner.averaged())
        )
        assert after < before - 0.2


def test_the_error_is_what_psnr_counts():
    """Ten times the error costs as much in a rough patch as in a smooth one; the noise sets where that ends."""
    zeros, sigma = torch.zeros(2, 3, 16, 16), torch.tensor([0.1, 0.1])

    def loss(first, second):
        return log_error(zeros + torch.tensor([first, second])[:, None, None, None], zeros, sigma).item()

    assert loss(10, 1) == pytest.approx(loss(1, 10)) == pytest.approx(np.log(10), abs=1e-3)
    assert loss(0, 0) == pytest.approx(np.log(0.05 * 0.1**2))


def test_a_step_moves_the_chains_of_one_pool(photos):
    trainer = fresh(photos)
    before = [pool.chains.y.clone() for pool in trainer.pools]
    trainer.advance()
    moved = [not torch.equal(y, pool.chains.y) for y, pool in zip(before, trainer.pools, strict=True)]
    assert sorted(moved) == [False, True]


def test_the_averaged_weights_are_shipped(photos, clock):  # noqa: F811
    trainer = fresh(photos)
    for _ in range(3):
        trainer.advance()
    average, name = trainer.learner.average, "stem.weight"
    assert torch.equal(trainer.weights()[name], average[name].half())
    assert not torch.equal(average[name], trainer.learner.net.stem.weight)
    assert trainer.weights().keys() == trainer.learner.net.state_dict().keys()


def test_training_writes_weights_that_load(photos, clock, tmp_path):  # noqa: F811
    rows, trainer = [], fresh(photos)
    train(trainer, tmp_path, rows.append, dict, every=3)
    assert [row["step"] for row in rows] == [3, 4]
    prior = SmallPrior.from_bytes((tmp_path / "small.safetensors").read_bytes())
    assert {p.shape for p in prior.net.parameters()} == {p.shape for p in network().parameters()}
    x = torch.linspace(-1, 1, 3 * 16 * 16).view(1, 3, 16, 16)
    assert torch.allclose(prior.denoise(x, 0.5), SmallPrior(trainer.learner.averaged(), 0).denoise(x, 0.5), atol=1e-2)


def test_the_network_to_train_is_new_or_of_a_file_or_larger(tmp_path):
    small, file = UNet(encoder_blocks=(1, 1, 1, 1), decoder_blocks=(1, 1, 1)), tmp_path / "init.safetensors"
    write_tensors(file, {name: tensor.half() for name, tensor in small.state_dict().items()})
    blocks = [[len(blocks) for blocks in net.enc] for net in (_network(None, False), _network(file, False))]
    assert blocks == [list(program.ENCODER_BLOCKS), [1, 1, 1, 1]]
    grown, x = _network(file, True), torch.zeros(1, 3, 16, 16)
    assert [len(blocks) for blocks in grown.dec] == list(program.DECODER_BLOCKS)
    c = x[0, 0, 0, :1]
    assert torch.allclose(grown(x, c, c), _network(file, False)(x, c, c), atol=1e-5)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in grown.parameters())
    with pytest.raises(SpecError, match="--init FILE"):
        _network(None, True)
    with pytest.raises(WeightsError, match="expected tensors in"):
        _network(tmp_path / "nowhere", True)


def test_the_command_trains_and_resumes(folder, clock, monkeypatch):  # noqa: F811
    monkeypatch.setattr(program, "Recipe", partial(Recipe, pools=POOLS))
    for seed, name in enumerate(("05", "08", "19", "23")):
        Image.fromarray(photograph(256, 256, seed)).save(folder / f"{name}.png")
    write_tensors(folder / "init.safetensors", network().state_dict())
    options = {"data": folder, "out": folder / "out", "init": folder / "init.safetensors", "every": 0}
    run = ["small", *(text for name, value in options.items() for text in (f"--{name}", str(value)))]
    with torch.random.fork_rng():
        first = CliRunner().invoke(app, [*run, "--minutes", "0.01"])
        second = CliRunner().invoke(app, [*run, "--minutes", "0.03", "--resume", "--yardstick", str(folder)])
    assert (first.exit_code, second.exit_code) == (0, 0)
    rows = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
    assert [(row["step"], row["seconds"]) for row in rows] == [(1, 1), (2, 2)]
    assert "denoise/25" in rows[1]


def test_the_yardstick_measures_every_noise_level(tmp_path):
    for seed, name in enumerate(("05", "08", "19", "23")):
        Image.fromarray(photograph(256, 256, seed)).save(tmp_path / f"{name}.png")
    prior = SmallPrior(network(), 0)
    rows = yardstick(prior, tmp_path)
    assert set(rows) == {f"{task}/{sigma}" for task in ("denoise", "refine") for sigma in SIGMAS}
    assert rows["denoise/5"] > rows["denoise/50"] > rows["denoise/255"]
    with pytest.raises(ImageError, match="the yardstick needs"):
        yardstick(prior, tmp_path / "nowhere")
    Image.fromarray(photograph(100, 256)).save(tmp_path / "08.png")
    with pytest.raises(ImageError, match="at least 256 pixels a side"):
        yardstick(prior, tmp_path)
