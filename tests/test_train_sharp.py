"""The training program of the sharp prior."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

from conftest import photograph
from flipproof.errors import SpecError, WeightsError
from flipproof.metric.dists import Dists
from flipproof.metric.lpips import Lpips
from flipproof.metric.psnr import psnr
from flipproof.metric.trunk import Layout, Stage
from flipproof.prior.shipped import SHIPPED
from flipproof.prior.unet import UNet
from flipproof.train import sharp
from flipproof.train.checkpoint import read_tensors, write_tensors
from flipproof.train.cli import app
from flipproof.train.data import PhotoSet
from flipproof.train.likeness import dists_loss, lpips_loss
from flipproof.train.loop import CHECKPOINT, train
from flipproof.train.pairs import Pair, Pairs
from flipproof.train.sharp import TRAINED, first_network, measured
from training import clock, pairs  # noqa: F401 (fixtures)

SHORT = {"batch": 2, "patch": 80}


def drawn(channels=6):
    """Weights of metrics of one layer."""
    rng = np.random.default_rng(0)
    tensors = {name: rng.random(3 + channels, dtype=np.float32) for name in ("alpha", "beta")}
    return tensors | {
        "conv.0.kernel": rng.standard_normal((channels, 3, 3, 3), dtype=np.float32),
        "conv.0.bias": np.zeros(channels, np.float32),
        "head.0": rng.random(channels, dtype=np.float32),
    }


LAYOUT = Layout((Stage(),), 8)
LPIPS, DISTS = Lpips(LAYOUT, drawn()), Dists(LAYOUT, drawn())
METRICS = {"lpips": LPIPS, "dists": DISTS}


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet((4, 6), (1, 1), (1,), embedding=8)


def fresh(pairs, seconds=4, **options):  # noqa: F811
    pace = replace(sharp.PACE, seconds=seconds, warmup=2, **options.pop("pace", {}))
    return sharp.SharpTrainer(sharp.Recipe(pace, **SHORT, **options), network(), pairs, LPIPS, DISTS)


def test_the_loss_is_lpips_of_both_scales(photo):
    metric, other = LPIPS, 255 - photo
    x, y = (torch.tensor(picture).permute(2, 0, 1)[None] / 127.5 - 1 for picture in (photo, other))
    halves = [
        functional.avg_pool2d(t, 2).clamp(-1, 1).add(1).mul(127.5).round()[0].permute(1, 2, 0).byte() for t in (x, y)
    ]
    expected = metric(photo, other) + metric(*(half.numpy() for half in halves)) / 2
    assert lpips_loss(metric, torch.cat([x, y]), torch.cat([y, x])).tolist() == pytest.approx([expected] * 2, rel=0.01)
    assert lpips_loss(metric, x, x).item() == 0


def test_the_other_loss_is_dists(photo):
    x = torch.tensor(photo).permute(2, 0, 1)[None] / 127.5 - 1
    y = torch.zeros(x.shape)
    expected = DISTS(photo, np.full(photo.shape, 128, np.uint8))
    assert dists_loss(DISTS, torch.cat([x, y]), torch.cat([y, x])).tolist() == pytest.approx([expected] * 2, rel=0.02)
    assert dists_loss(DISTS, x, x).item() == pytest.approx(0, abs=1e-5)


def test_gradients_of_the_loss_are_finite_where_there_are_no_features():
    x = torch.zeros(1, 3, 64, 64) + torch.tensor([-0.030, -0.088, -0.188])[:, None, None]  # the trunk sees zeros
    x.requires_grad_(True)
    lpips_loss(LPIPS, x, torch.zeros(1, 3, 64, 64)).sum().backward()
    assert x.grad.isfinite().all()


def test_the_first_network_is_that_of_the_prior(tmp_path):
    prior = UNet.from_bytes(SHIPPED["small"].read()).state_dict()
    first = first_network(None).state_dict()
    assert all(torch.equal(tensor, prior[name]) for name, tensor in first.items())
    write_tensors(tmp_path / "sharp.safetensors", {"head.bias": torch.ones(12)})
    again = first_network(tmp_path / "sharp.safetensors").state_dict()
    assert {name for name, tensor in again.items() if not torch.equal(tensor, prior[name])} == {"head.bias"}


def test_weights_of_another_network_are_refused(tmp_path):
    write_tensors(tmp_path / "sharp.safetensors", {"head.bias": torch.ones(7)})
    with pytest.raises(WeightsError, match=r"head\.bias"):
        first_network(tmp_path / "sharp.safetensors")


def test_the_way_down_stays(pairs, clock):  # noqa: F811
    trainer, first = fresh(pairs), network().state_dict()
    trainer.advance()
    for averaged in (trainer.learner.net, trainer.learner.averaged()):
        changed = {name for name, tensor in averaged.state_dict().items() if not torch.equal(tensor, first[name])}
        assert {name.partition(".")[0] for name in changed} == set(TRAINED)


def test_a_resumed_run_repeats_an_uninterrupted_one(pairs, clock, tmp_path):  # noqa: F811
    whole, first, second = fresh(pairs), fresh(pairs), fresh(pairs, seed=7)
    rows = [whole.advance() for _ in range(4)]
    before = [first.advance() for _ in range(2)]
    first.save(tmp_path / CHECKPOINT)
    second.restore(tmp_path / CHECKPOINT)
    after = [second.advance() for _ in range(2)]
    for row, again in zip(rows, [*before, *after], strict=True):
        assert again == pytest.approx(row, rel=1e-2, abs=1e-4)


def test_training_learns(pairs, clock):  # noqa: F811
    trainer = fresh(pairs, seconds=40, pace={"learning_rate": 5e-3})
    before = measured(trainer.learner.averaged(), pairs, METRICS)
    for _ in range(40):
        trainer.advance()
    after = measured(trainer.learner.averaged(), pairs, METRICS)
    assert after["lpips"] < 0.9 * before["lpips"]


def test_training_writes_weights_that_load(pairs, clock, tmp_path):  # noqa: F811
    rows, trainer = [], fresh(pairs)
    train(trainer, tmp_path, rows.append, lambda: measured(trainer.learner.averaged(), pairs, METRICS), every=3)
    assert [row["step"] for row in rows] == [3, 4]
    assert 0 < rows[-1]["lpips"] < 1
    made = read_tensors(tmp_path / trainer.file)[0]
    assert {name.partition(".")[0] for name in made} == set(TRAINED)
    averaged = trainer.learner.averaged().state_dict()
    assert all(torch.allclose(tensor.float(), averaged[name], atol=1e-3) for name, tensor in made.items())


def test_the_check_measures_what_the_network_makes(pairs):  # noqa: F811
    """Of averages without noise: between what repeating them gives and the original."""
    some = Pairs(tuple(Pair(pair.original, pair.states[1:], pair.sigma[1:] / 10) for pair in pairs.pairs))
    score = measured(first_network(None), some, METRICS)
    coarse = [pair.original[::2, ::2].repeat(2, axis=0).repeat(2, axis=1) for pair in some.pairs]
    assert np.mean([psnr(a, pair.original) for a, pair in zip(coarse, some.pairs, strict=True)]) < score["psnr"] < 60
    assert score["lpips"] > 0
    assert score["dists"] > 0


def test_the_commands_make_pairs_train_and_resume(clock, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(PhotoSet, "load", lambda _: PhotoSet(((photograph(256, 256),),)))
    monkeypatch.setattr(Lpips, "load", lambda *_: LPIPS)
    monkeypatch.setattr(Dists, "load", lambda *_: DISTS)
    folder = str(tmp_path / "pairs")
    make = ["pairs", "--data", "unused", "--out", folder, "--crops", "1"]
    run = ["sharp", "--pairs", folder, "--out", str(tmp_path), "--patch", "96", "--batch", "1", "--every", "0"]
    with torch.random.fork_rng():
        assert CliRunner().invoke(app, [*make, "--codec", "tracks[protect=none,precision=bfloat16]"]).exit_code == 0
        assert CliRunner().invoke(app, [*run, "--minutes", "0.01"]).exit_code == 0
        assert CliRunner().invoke(app, [*run, "--minutes", "0.03", "--resume", "--check", folder]).exit_code == 0
        for bad in ([*run, "--patch", "100"], [*make, "--codec", "jpeg"]):
            assert isinstance(CliRunner().invoke(app, bad).exception, SpecError)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[1].keys() > {"psnr", "lpips", "dists"}
    assert not (rows[0].keys() & {"psnr", "lpips", "dists"})
