"""The training program of the refiner."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner

from conftest import photograph
from flipproof.codec.tracks import TracksCodec
from flipproof.errors import ImageError, SpecError, WeightsError
from flipproof.metric.dists import Dists
from flipproof.metric.lpips import Lpips
from flipproof.metric.trunk import Layout, Stage
from flipproof.prior.refiner import Refiner, refined
from flipproof.prior.unet import UNet
from flipproof.schedule import Level
from flipproof.train import refiner as program
from flipproof.train.checkpoint import write_tensors
from flipproof.train.cli import app
from flipproof.train.data import PhotoSet
from flipproof.train.discriminator import Discriminator, hinge
from flipproof.train.likeness import dists_loss, lpips_loss
from flipproof.train.loop import CHECKPOINT, train
from flipproof.train.pairs import PairRecipe, Pairs, make_pairs
from flipproof.train.refiner import PACE, Recipe, RefinerTrainer, first_network, measured
from training import clock  # noqa: F401 (a fixture)

RECIPE = Recipe(replace(PACE, seconds=4, warmup=2), batch=2, patch=80)
PAIRS = PairRecipe(crops=2, sizes=(64, 48), rates=2, lowest=0.6, highest=2.0, damaged=0.5)
CODEC = TracksCodec(protect="none")


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


@pytest.fixture(autouse=True)
def small_discriminator(monkeypatch):
    monkeypatch.setattr(program, "Discriminator", lambda: Discriminator(4))


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet((4, 6), (1, 1), (1,), embedding=8)


@pytest.fixture
def pairs():
    """Two photographs and what a codec that loses every other row and column would make of them."""
    crops = []
    for seed in (0, 1):
        photo = photograph(96, 112, seed)
        coarse = photo[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
        crops.append((photo, np.stack([photo, coarse]), np.array([-3.0, 0.5], np.float32)))
    return Pairs(tuple(crops))


@pytest.fixture
def photos():
    return PhotoSet(((photograph(100, 120),), (photograph(70, 80, 1), photograph(64, 64, 2))))


def fresh(pairs, recipe=RECIPE):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RefinerTrainer(recipe, network(), pairs, LPIPS, DISTS)


def test_pairs_are_made_once(photos, tmp_path):
    done = []
    make_pairs(PAIRS, photos, CODEC, tmp_path, done.append)
    assert done == [0, 1]
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "000001.safetensors").unlink()
    kept = (tmp_path / "000000.safetensors").stat().st_mtime_ns
    make_pairs(PAIRS, photos, CODEC, tmp_path, done.append)
    assert (tmp_path / "000000.safetensors").stat().st_mtime_ns == kept
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    loaded = Pairs.load(tmp_path)
    assert {original.shape for original, _, _ in loaded.crops} == {(64, 64, 3), (48, 48, 3)}
    for original, decoded, c in loaded.crops:
        assert decoded.shape == (2, *original.shape)
        assert c[0] > c[1]  # more bits, less noise


def test_every_photograph_is_taken_before_any_is_taken_twice(photos, tmp_path):
    make_pairs(replace(PAIRS, crops=2, sizes=(64,), rates=1), photos, CODEC, tmp_path, lambda index: None)
    one, other = (original for original, _, _ in Pairs.load(tmp_path).crops)
    assert not np.array_equal(one, other)


def test_rates_spread_over_their_range():
    rates = PairRecipe(rates=3, lowest=0.01, highest=10).rates_of(np.random.default_rng(0))
    assert (np.diff(rates) > 0).all()
    assert np.floor(np.log10(rates)).tolist() == [-2, -1, 0]


def test_what_holds_no_pairs_says_so(tmp_path):
    with pytest.raises(ImageError, match="got none"):
        Pairs.load(tmp_path)
    write_tensors(tmp_path / "0.safetensors", {"original": torch.zeros(1)})
    with pytest.raises(WeightsError, match="got no 'decoded'"):
        Pairs.load(tmp_path)


def test_patches_lie_alike_in_both_pictures(pairs):
    same = Pairs(tuple((photo, np.stack([photo]), c[:1]) for photo, _, c in pairs.crops))
    batch = same.draw(8, 64, np.random.default_rng(0))
    assert batch.original.shape == (8, 3, 64, 64)
    assert torch.equal(batch.original, batch.decoded)
    assert len({patch.numpy().tobytes() for patch in batch.original}) > 4
    assert batch.c.tolist() == [-3.0] * 8


def test_the_loss_is_lpips_of_both_scales(photo):
    metric, other = LPIPS, 255 - photo
    x, y = (torch.tensor(picture).permute(2, 0, 1)[None] / 127.5 - 1 for picture in (photo, other))
    halves = [
        functional.avg_pool2d(t, 2).clamp(-1, 1).add(1).mul(127.5).round()[0].permute(1, 2, 0).byte() for t in (x, y)
    ]
    expected = metric(photo, other) + metric(*(half.numpy() for half in halves)) / 2
    assert lpips_loss(metric, torch.cat([x, y]), torch.cat([y, x])).tolist() == pytest.approx([expected] * 2, rel=0.01)
    assert lpips_loss(metric, x, x).item() == 0


def test_the_other_loss_is_dists_of_the_halves(photo):
    x = torch.tensor(photo).permute(2, 0, 1)[None] / 127.5 - 1
    y = torch.zeros(x.shape)
    half = functional.avg_pool2d(x, 2).add(1).mul(127.5).round()[0].permute(1, 2, 0).byte().numpy()
    expected = DISTS(half, np.full(half.shape, 128, np.uint8))
    assert dists_loss(DISTS, torch.cat([x, y]), torch.cat([y, x])).tolist() == pytest.approx([expected] * 2, rel=0.02)
    assert dists_loss(DISTS, x, x).item() == pytest.approx(0, abs=1e-5)


def test_gradients_of_the_loss_are_finite_where_there_are_no_features():
    x = torch.zeros(1, 3, 64, 64) + torch.tensor([-0.030, -0.088, -0.188])[:, None, None]  # the trunk sees zeros
    x.requires_grad_(True)
    lpips_loss(LPIPS, x, torch.zeros(1, 3, 64, 64)).sum().backward()
    assert x.grad.isfinite().all()


def test_shifted_patches_lie_alike(pairs):
    batch = pairs.draw(2, 64, np.random.default_rng(0))
    part = batch.shifted(3, 0, 8)
    assert torch.equal(part.original, batch.original[:, :, 3:59, :56])
    assert torch.equal(part.decoded, batch.decoded[:, :, 3:59, :56])


def test_the_discriminator_scores_patches():
    scores = Discriminator(4)(torch.zeros(2, 3, 64, 80), torch.zeros(2, 3, 64, 80))
    assert scores.shape == (2, 1, 8, 10)
    assert hinge(torch.tensor([0.5, 2.0]), torch.tensor([-3.0, 0.0])).item() == pytest.approx(0.25 + 0.5)


def test_a_first_network_leaves_pictures_as_they_are(tmp_path):
    x, c = torch.rand(1, 3, 16, 16), torch.zeros(1)
    write_tensors(tmp_path / "prior.safetensors", UNet(encoder_blocks=(2, 2, 2, 3)).state_dict())
    for init in (None, tmp_path / "prior.safetensors"):
        assert torch.equal(refined(first_network(init), x, c), x)
    given = UNet.from_state({name: t.float() for name, t in first_network(init).state_dict().items()})
    assert torch.equal(given.stem.weight, first_network(init).stem.weight)


def test_training_goes_on_from_a_refiner(tmp_path):
    refiner = first_network(None)
    torch.nn.init.normal_(refiner.head.weight)
    write_tensors(tmp_path / "sharp.safetensors", refiner.state_dict())
    assert torch.equal(first_network(tmp_path / "sharp.safetensors").head.weight, refiner.head.weight)


def test_a_resumed_run_repeats_an_uninterrupted_one(pairs, clock, tmp_path):  # noqa: F811
    recipe = replace(RECIPE, adversary=0.1)
    whole, first, second = fresh(pairs, recipe), fresh(pairs, recipe), fresh(pairs, replace(recipe, seed=7))
    rows = [whole.advance() for _ in range(4)]
    before = [first.advance() for _ in range(2)]
    first.save(tmp_path / CHECKPOINT)
    second.restore(tmp_path / CHECKPOINT)
    after = [second.advance() for _ in range(2)]
    for row, again in zip(rows, [*before, *after], strict=True):
        assert again == pytest.approx(row, rel=1e-2, abs=1e-4)


def test_the_discriminator_joins_late_and_learns_only_its_own_part(pairs, clock):  # noqa: F811
    trainer = fresh(pairs, replace(RECIPE, adversary=0.1, alone=0.49, joined=0.75))
    first = {name: p.clone() for name, p in trainer.opponent.net.named_parameters()}
    rows = [trainer.advance() for _ in range(2)]
    assert all(torch.equal(p, first[name]) for name, p in trainer.opponent.net.named_parameters())
    rows += [trainer.advance() for _ in range(2)]
    assert [row["discriminator"] > 0 for row in rows] == [False, False, True, True]
    assert not all(torch.equal(p, first[name]) for name, p in trainer.opponent.net.named_parameters())


def test_training_learns(pairs, clock):  # noqa: F811
    pace = replace(RECIPE.pace, seconds=40, learning_rate=5e-3)
    trainer = fresh(pairs, replace(RECIPE, pace=pace))
    losses = [trainer.advance()["likeness"] for _ in range(40)]
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])


def test_training_writes_weights_that_load(pairs, clock, tmp_path):  # noqa: F811
    rows, trainer = [], fresh(pairs)
    train(trainer, tmp_path, rows.append, lambda: measured(trainer.learner.averaged(), pairs, LPIPS), every=3)
    assert [row["step"] for row in rows] == [3, 4]
    assert rows[-1]["mse/psnr"] == float("inf")  # the first pictures of the pairs are the originals
    assert 0 < rows[-1]["sharp/lpips"] < 1
    refiner = Refiner.from_bytes((tmp_path / "sharp.safetensors").read_bytes())
    x = torch.rand(1, 3, 32, 32) - 0.5
    expected = refined(trainer.learner.averaged(), x, torch.zeros(1))
    assert torch.allclose(refiner(x, Level(2, 0.5)), expected, atol=1e-2)


def test_the_command_makes_pairs_trains_and_resumes(photos, clock, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(PhotoSet, "load", lambda _: PhotoSet(((photograph(256, 256),),)))
    monkeypatch.setattr(Lpips, "load", lambda *_: LPIPS)
    monkeypatch.setattr(Dists, "load", lambda *_: DISTS)
    run = ["sharp", "--data", "unused", "--pairs", str(tmp_path / "pairs"), "--out", str(tmp_path), "--patch", "96"]
    run += ["--batch", "1", "--every", "0", "--crops", "1", "--codec", "tracks[protect=none,precision=bfloat16]"]
    with torch.random.fork_rng():
        assert CliRunner().invoke(app, [*run, "--minutes", "0.01"]).exit_code == 0
        again = [*run, "--minutes", "0.03", "--resume", "--check", str(tmp_path / "pairs")]
        assert CliRunner().invoke(app, again).exit_code == 0
        for bad in (["--patch", "100"], ["--codec", "jpeg"]):
            assert isinstance(CliRunner().invoke(app, [*run, *bad]).exception, SpecError)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[1].keys() > {"mse/psnr", "sharp/lpips"}
