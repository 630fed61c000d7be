"""What training programs have in common."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from flipproof.errors import WeightsError
from flipproof.train.checkpoint import read_tensors, write_tensors
from flipproof.train.learner import Learner
from flipproof.train.loop import CHECKPOINT, Trainer, train
from flipproof.train.pace import Pace
from training import clock  # noqa: F401 (a fixture)

PACE = Pace(seconds=6, learning_rate=0.05, warmup=2, floor=0.01)


class LineTrainer(Trainer):
    """Learns to double a number."""

    file = "line.safetensors"

    def __init__(self, pace=PACE, inputs=1):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = nn.Linear(inputs, 1)
        self.learner = Learner(net, torch.optim.AdamW(net.parameters()), 0.9)
        super().__init__(pace, {"line": self.learner}, seed=0)

    def take_step(self, rate):
        x = torch.from_numpy(self.rng.standard_normal((8, 1))).float()
        loss = (self.learner.net(x) - 2 * x).square().mean()
        self.learner.learn(loss, rate, self.step)
        return {"loss": loss.item(), "rate": rate}

    def weights(self):
        return self.learner.averaged().state_dict()


class PooledTrainer(LineTrainer):
    """One that keeps more than its network."""

    def memory(self):
        return {"pool": torch.zeros(3)}


def test_a_resumed_run_repeats_an_uninterrupted_one(clock, tmp_path):  # noqa: F811
    whole, first, second = LineTrainer(), LineTrainer(), LineTrainer()
    rows = [whole.advance() for _ in range(5)]
    before = [first.advance() for _ in range(2)]
    first.save(tmp_path / CHECKPOINT)
    second.restore(tmp_path / CHECKPOINT)
    assert (second.step, second.seconds) == (2, 2.0)
    assert before + [second.advance() for _ in range(3)] == rows
    for name, tensor in whole.learner.tensors().items():
        assert torch.equal(tensor, second.learner.tensors()[name]), name


def test_a_run_leaves_checkpoint_weights_and_log(clock, tmp_path):  # noqa: F811
    rows, trainer = [], LineTrainer()
    train(trainer, tmp_path / "out", rows.append, lambda: {"score": 1.5}, every=4)
    assert [(row["step"], row["seconds"], row["score"]) for row in rows] == [(4, 4, 1.5), (6, 6, 1.5)]
    assert [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()] == rows
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [CHECKPOINT, "line.safetensors", "log.jsonl"]
    weights, header = read_tensors(tmp_path / "out" / "line.safetensors")
    assert header == {}
    assert all(torch.equal(tensor, trainer.learner.average[name]) for name, tensor in weights.items())


def test_no_time_means_no_steps(tmp_path):
    rows, trainer = [], LineTrainer(Pace(seconds=0, learning_rate=1, warmup=1, floor=0))
    train(trainer, tmp_path, rows.append, dict)
    assert (trainer.step, rows) == (0, [])


def test_the_learning_rate_rises_by_steps_and_falls_with_time():
    pace = Pace(seconds=100, learning_rate=1.0, warmup=10, floor=0.01)
    assert pace.rate_at(0, 0) == pytest.approx(0.1)
    assert pace.rate_at(9, 0) == 1
    assert pace.rate_at(1000, 50) == pytest.approx(0.505)
    assert pace.rate_at(1000, 200) == pytest.approx(0.01)
    rates = [pace.rate_at(10, seconds) for seconds in range(100)]
    assert rates == sorted(rates, reverse=True)


def test_the_average_follows_fast_at_first_and_slowly_later():
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    learner = Learner(net, torch.optim.SGD(net.parameters()), 0.9)
    learner.learn(net.weight.sum(), 1.0, step=0)  # the weight falls by 1, the average by 9/10 of that
    assert learner.average["weight"].item() == pytest.approx(1 - 0.9, abs=1e-5)
    learner.learn(net.weight.sum(), 1.0, step=1000)
    assert learner.average["weight"].item() == pytest.approx(1 - 0.9 - 0.11, abs=1e-5)
    assert learner.averaged().weight.item() == learner.average["weight"].item()
    assert net.weight.requires_grad
    assert not learner.averaged().weight.requires_grad


def test_a_group_of_parameters_may_learn_faster():
    net = nn.Linear(1, 1)
    groups = [{"params": [net.weight], "speed": 5.0}, {"params": [net.bias]}]
    learner = Learner(net, torch.optim.SGD(groups, lr=0.0))
    before = net.weight.item() - net.bias.item()
    learner.learn((net.weight + net.bias).sum() / 2, 0.1, step=0)
    assert net.weight.item() - net.bias.item() == pytest.approx(before - 0.2, abs=1e-5)


def test_gradients_that_are_not_finite_change_nothing():
    net = nn.Linear(1, 1)
    learner = Learner(net, torch.optim.AdamW(net.parameters()))
    before = net.weight.clone()
    learner.learn((net.weight / 0).sum(), 0.1, step=0)
    assert torch.equal(net.weight, before)


def test_other_files_are_no_checkpoints(tmp_path):
    path = tmp_path / CHECKPOINT
    with pytest.raises(WeightsError, match="is not a training checkpoint: expected tensors in"):
        LineTrainer().restore(path)
    path.write_bytes(b"junk")
    with pytest.raises(WeightsError, match="is not a training checkpoint: expected tensors in"):
        LineTrainer().restore(path)
    LineTrainer(inputs=2).save(path)
    with pytest.raises(WeightsError, match="is not a training checkpoint: expected tensors of this network"):
        LineTrainer().restore(path)
    PooledTrainer().save(path)
    with pytest.raises(WeightsError, match="expected no tensors beyond the networks, got pool"):
        LineTrainer().restore(path)
    write_tensors(path, {f"line.{name}": tensor for name, tensor in LineTrainer().learner.tensors().items()})
    with pytest.raises(WeightsError, match="step"):
        LineTrainer().restore(path)
