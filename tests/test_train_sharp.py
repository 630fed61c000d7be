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
from flipproof.codec.target import to_picture
from flipproof.codec.tracks import TracksCodec
from flipproof.errors import ImageError, SpecError, WeightsError
from flipproof.metric.dists import Dists
from flipproof.metric.lpips import Lpips
from flipproof.metric.psnr import psnr
from flipproof.metric.trunk import Layout, Stage
from flipproof.prior.sharp import BASE, sharp_network
from flipproof.prior.unet import UNet
from flipproof.reconstruction import picture
from flipproof.schedule import Level
from flipproof.seeds import generator
from flipproof.train.checkpoint import read_tensors, write_tensors
from flipproof.train.cli import app
from flipproof.train.data import PhotoSet
from flipproof.train.likeness import dists_loss, lpips_loss
from flipproof.train.loop import CHECKPOINT, train
from flipproof.train.pairs import Pair, PairRecipe, Pairs, make_pairs
from flipproof.train.pyramid import Pyramid
from flipproof.train.sharp import PACE, TRAINED, Recipe, SharpTrainer, first_network, measured
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


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet((4, 6), (1, 1), (1,), embedding=8)


def averages(photo):
    """A photograph at half size in the units of states (3, H / 2, W / 2)."""
    return functional.avg_pool2d(torch.tensor(photo).permute(2, 0, 1) / 127.5 - 1, 2).half().numpy()


@pytest.fixture
def pairs():
    """Two photographs: chains to the first that ends without noise, and with the finest detail missing."""
    made = []
    for seed in (0, 1):
        photo = photograph(96, 112, seed)
        whole = (photo.transpose(2, 0, 1) / 127.5 - 1).astype(np.float16)
        made.append(Pair(photo, (whole, averages(photo)), np.array([0.04, 0.3], np.float32)))
    return Pairs(tuple(made))


@pytest.fixture
def photos():
    return PhotoSet(((photograph(100, 120),), (photograph(70, 80, 1), photograph(64, 64, 2))))


def fresh(pairs, recipe=RECIPE):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SharpTrainer(recipe, network(), pairs, LPIPS, DISTS)


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
    assert {pair.original.shape for pair in loaded.pairs} == {(64, 64, 3), (48, 48, 3)}
    for pair in loaded.pairs:
        sides = pair.original.shape[:2]
        assert {state.shape[1:] for state in pair.states} <= {sides, (sides[0] // 2, sides[1] // 2)}
        first, second = (
            sigma * sides[0] / state.shape[1] for sigma, state in zip(pair.sigma, pair.states, strict=True)
        )
        assert first > second  # more bits, less noise


def test_the_states_of_pairs_are_those_that_decoders_meet(photos, tmp_path):
    """Their posterior means are the pictures that the files decode to."""
    recipe = replace(PAIRS, crops=1, damaged=0)
    make_pairs(recipe, photos, CODEC, tmp_path, lambda index: None)
    (pair,) = Pairs.load(tmp_path).pairs
    rng = generator(purpose="pairs", seed=recipe.seed, index=0)
    Pyramid(photos, 64).draw(1, rng)
    for rate, state, sigma in zip(recipe.rates_of(rng), pair.states, pair.sigma, strict=True):
        shown = CODEC.with_rate(float(rate)).decode(CODEC.with_rate(float(rate)).encode(pair.original)).picture
        level = Level(64 // state.shape[1], float(sigma))
        again = to_picture(picture(CODEC.denoiser, torch.tensor(state)[None].float(), level)[0])
        assert psnr(again, shown) > 45


def test_every_photograph_is_taken_before_any_is_taken_twice(photos, tmp_path):
    make_pairs(replace(PAIRS, crops=2, sizes=(64,), rates=1), photos, CODEC, tmp_path, lambda index: None)
    one, other = (pair.original for pair in Pairs.load(tmp_path).pairs)
    assert not np.array_equal(one, other)


def test_rates_spread_over_their_range():
    rates = PairRecipe(rates=3, lowest=0.01, highest=10).rates_of(np.random.default_rng(0))
    assert (np.diff(rates) > 0).all()
    assert np.floor(np.log10(rates)).tolist() == [-2, -1, 0]


def test_what_holds_no_pairs_says_so(tmp_path):
    with pytest.raises(ImageError, match="got none"):
        Pairs.load(tmp_path)
    write_tensors(tmp_path / "0.safetensors", {"original": torch.zeros(1)})
    with pytest.raises(WeightsError, match="got no 'sigma'"):
        Pairs.load(tmp_path)


def test_patches_lie_alike_in_both_pictures(pairs):
    batch = pairs.draw(16, 64, np.random.default_rng(0))
    assert batch.original.shape == batch.y.shape == (16, 3, 64, 64)
    assert set(batch.missing.tolist()) == {0, 1}
    for original, y, sigma, missing in zip(batch.original, batch.y, batch.sigma, batch.missing, strict=True):
        seen = (
            functional.avg_pool2d(original, 2).repeat_interleave(2, 1).repeat_interleave(2, 2) if missing else original
        )
        assert torch.allclose(y, seen, atol=2e-3)
        assert sigma == pytest.approx(0.3 if missing else 0.04)
    assert len({patch.numpy().tobytes() for patch in batch.original}) > 8


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
    prior = UNet.from_bytes(BASE.read()).state_dict()
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
    whole, first, second = fresh(pairs), fresh(pairs), fresh(pairs, replace(RECIPE, seed=7))
    rows = [whole.advance() for _ in range(4)]
    before = [first.advance() for _ in range(2)]
    first.save(tmp_path / CHECKPOINT)
    second.restore(tmp_path / CHECKPOINT)
    after = [second.advance() for _ in range(2)]
    for row, again in zip(rows, [*before, *after], strict=True):
        assert again == pytest.approx(row, rel=1e-2, abs=1e-4)


def test_training_learns(pairs, clock):  # noqa: F811
    pace = replace(RECIPE.pace, seconds=40, learning_rate=5e-3)
    trainer = fresh(pairs, replace(RECIPE, pace=pace))
    losses = [trainer.advance()["likeness"] for _ in range(40)]
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:15])


def test_training_writes_weights_that_load(pairs, clock, tmp_path):  # noqa: F811
    rows, trainer = [], fresh(pairs)
    train(trainer, tmp_path, rows.append, lambda: measured(trainer.learner.averaged(), pairs, LPIPS, DISTS), every=3)
    assert [row["step"] for row in rows] == [3, 4]
    assert 0 < rows[-1]["lpips"] < 1
    made = read_tensors(tmp_path / "sharp.safetensors")[0]
    assert {name.partition(".")[0] for name in made} == set(TRAINED)
    averaged = trainer.learner.averaged().state_dict()
    assert all(torch.allclose(tensor.float(), averaged[name], atol=1e-3) for name, tensor in made.items())


def test_the_check_measures_what_the_network_makes(pairs):
    """Of averages without noise: between what repeating them gives and the original."""
    some = Pairs(tuple(Pair(pair.original, pair.states[1:], pair.sigma[1:] / 10) for pair in pairs.pairs))
    score = measured(sharp_network({}), some, LPIPS, DISTS)
    coarse = [pair.original[::2, ::2].repeat(2, axis=0).repeat(2, axis=1) for pair in some.pairs]
    assert np.mean([psnr(a, pair.original) for a, pair in zip(coarse, some.pairs, strict=True)]) < score["psnr"] < 60
    assert score["lpips"] > 0
    assert score["dists"] > 0


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
    assert rows[1].keys() > {"psnr", "lpips", "dists"}
