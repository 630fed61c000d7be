"""``flipproof train``: makes the weights of a prior or a learned codec again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from flipproof.train.options import Data, Device, Every, LearningRate, Minutes, Out, Resume, Seed, Threads

if TYPE_CHECKING:
    from flipproof.prior.unet import UNet

app = typer.Typer(help="Train a prior or a learned codec.", no_args_is_help=True)
console = Console(stderr=True)

PAIRS_CODEC = "trellis[protect=none,precision=bfloat16]"


@app.callback()
def _group() -> None:
    """Train a prior or a learned codec."""


@app.command()
def small(
    data: Data,
    out: Out = Path("runs/small"),
    init: Annotated[Path | None, typer.Option(help="Weights (safetensors) to start from.")] = None,
    grow: Annotated[
        bool, typer.Option(help="Add the residual blocks and channels that the network of --init lacks.")
    ] = False,
    resume: Resume = False,
    yardstick: Annotated[Path | None, typer.Option(help="Kodak folder to validate on.")] = None,
    minutes: Minutes = 92,
    learning_rate: LearningRate = 5e-4,
    bfloat16: Annotated[bool, typer.Option(help="Round to bfloat16 in convolutions.")] = True,
    seed: Seed = 0,
    every: Every = 240,
    threads: Threads = 1,
    device: Device = "cpu",
) -> None:
    """Train the small prior; with --resume, go on where the last run stopped."""
    from flipproof.prior.small import SmallPrior
    from flipproof.train.data import PhotoSet
    from flipproof.train.loop import CHECKPOINT, train
    from flipproof.train.small import PACE, Recipe, SmallTrainer
    from flipproof.train.yardstick import yardstick as measure

    _ready(device, threads, seed)
    net = _network(init, grow)
    photos = PhotoSet.load(data)
    pace = replace(PACE, seconds=60 * minutes, learning_rate=learning_rate)
    recipe = Recipe(pace, bfloat16=bfloat16, seed=seed)
    trainer = SmallTrainer(recipe, net, photos, device)
    if resume:
        trainer.restore(out / CHECKPOINT)
    console.print(f"{len(photos.groups)} photographs, {trainer.seconds:.0f} of {60 * minutes:.0f} seconds")

    def check() -> dict[str, float]:
        return measure(SmallPrior(trainer.learner.averaged(), 0), yardstick) if yardstick else {}

    train(trainer, out, _report, check, every)


@app.command()
def hyperprior(
    data: Data,
    out: Out = Path("runs/hyperprior"),
    resume: Resume = False,
    check: Annotated[Path | None, typer.Option(help="Folder of PNG files to check on.")] = None,
    minutes: Minutes = 90,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    patch: Annotated[int, typer.Option(min=64, help="Side of a crop, a multiple of 64.")] = 128,
    learning_rate: LearningRate = 1e-3,
    seed: Seed = 0,
    every: Every = 180,
    threads: Threads = 1,
    device: Device = "cpu",
) -> None:
    """Train the networks of the codec hyperprior; with --resume, go on where the last run stopped."""
    from flipproof.errors import SpecError
    from flipproof.learned.hyperprior import Hyperprior
    from flipproof.train.data import PhotoSet
    from flipproof.train.hyperprior import PACE, HyperpriorTrainer, Recipe, rate_distortion
    from flipproof.train.loop import CHECKPOINT, train

    if patch % 64:
        raise SpecError(f"expected a patch whose side is a multiple of 64, got {patch}")
    _ready(device, threads, seed)
    photos = PhotoSet.load(data)
    pace = replace(PACE, seconds=60 * minutes, learning_rate=learning_rate)
    recipe = Recipe(pace, batch, patch, seed=seed)
    trainer = HyperpriorTrainer(recipe, Hyperprior(), photos, device)
    if resume:
        trainer.restore(out / CHECKPOINT)
    console.print(f"{len(photos.groups)} photographs, {trainer.seconds:.0f} of {60 * minutes:.0f} seconds")
    score = (lambda: rate_distortion(trainer.learner.averaged(), check)) if check else dict
    train(trainer, out, _report, score, every)


@app.command()
def pairs(
    data: Data,
    out: Out = Path("runs/pairs"),
    codec: Annotated[str, typer.Option(help="What makes them; unprotected suits best.")] = PAIRS_CODEC,
    crops: Annotated[int, typer.Option(min=1, help="Crops, three files of each.")] = 900,
    seed: Seed = 0,
    threads: Threads = 1,
) -> None:
    """Make pairs of photographs and ends of chains for sharp; those that are there stay."""
    from flipproof import registry
    from flipproof.codec.rcc import ChainCodec
    from flipproof.errors import SpecError
    from flipproof.train.data import PhotoSet
    from flipproof.train.pairs import PairRecipe, make_pairs

    coder = registry.codec(codec)
    if not isinstance(coder, ChainCodec):
        raise SpecError(f"expected a codec that steers a chain, got {codec}")
    _ready("cpu", threads, seed)
    make_pairs(PairRecipe(crops, seed=seed), PhotoSet.load(data), coder, out, _report_crop)


@app.command()
def sharp(
    pairs: Annotated[Path, typer.Option("--pairs", help="Folder that train pairs filled.")],
    out: Out = Path("runs/sharp"),
    init: Annotated[
        Path | None, typer.Option(help="Weights of a sharp prior to go on from; without, those of the prior.")
    ] = None,
    resume: Resume = False,
    check: Annotated[Path | None, typer.Option(help="Folder of pairs to check on.")] = None,
    minutes: Minutes = 60,
    batch: Annotated[int, typer.Option(min=1, help="Patches per step.")] = 8,
    patch: Annotated[int, typer.Option(min=96, max=256, help="Side of a patch, a multiple of 16.")] = 128,
    learning_rate: LearningRate = 5e-4,
    seed: Seed = 0,
    every: Every = 180,
    threads: Threads = 1,
    device: Device = "cpu",
) -> None:
    """Train the prior of the reconstruction sharp on the ends of chains."""
    from flipproof.errors import SpecError
    from flipproof.metric.dists import Dists
    from flipproof.metric.lpips import Lpips
    from flipproof.train.loop import CHECKPOINT, train
    from flipproof.train.pairs import Pairs
    from flipproof.train.sharp import PACE, Recipe, SharpTrainer, first_network, measured

    if patch % 16:
        raise SpecError(f"expected a patch whose side is a multiple of 16, got {patch}")
    _ready(device, threads, seed)
    pace = replace(PACE, seconds=60 * minutes, learning_rate=learning_rate)
    metrics = Lpips.load("alex", device), Dists.load(device)
    trainer = SharpTrainer(
        Recipe(pace, batch, patch, seed=seed), first_network(init), Pairs.load(pairs), *metrics, device
    )
    if resume:
        trainer.restore(out / CHECKPOINT)
    console.print(f"{len(trainer.pairs.pairs)} crops, {trainer.seconds:.0f} of {60 * minutes:.0f} seconds")
    held = Pairs.load(check) if check else None
    measures = {"lpips": Lpips.load("alex"), "dists": Dists.load()}
    score = (lambda: measured(trainer.learner.averaged(), held, measures)) if held else dict
    train(trainer, out, _report, score, every)


def _ready(device: str, threads: int, seed: int) -> None:
    """Checks the device, sets the number of threads and seeds the first weights."""
    import torch

    from flipproof.prior.load import check_device

    check_device(device)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)


def _network(init: Path | None, grow: bool) -> UNet:
    """Returns the network to train: a new one, that of a file, or one that computes the same and has more blocks."""
    from flipproof.errors import SpecError
    from flipproof.prior.unet import UNet
    from flipproof.train import growth
    from flipproof.train.checkpoint import read_tensors
    from flipproof.train.small import DECODER_BLOCKS, ENCODER_BLOCKS, WIDTHS

    if grow and init is None:
        raise SpecError("expected weights to grow from (--init FILE), got none")
    if init is not None and not grow:
        return UNet.from_state(read_tensors(init)[0])
    net = UNet(WIDTHS, ENCODER_BLOCKS, DECODER_BLOCKS)
    if init is not None:
        growth.grow(net, {name: tensor.float() for name, tensor in read_tensors(init)[0].items()})
    return net


def _report_crop(index: int) -> None:
    if index % 50 == 49:
        console.print(f"{index + 1} crops")


def _report(row: dict[str, Any]) -> None:
    console.print("  ".join(f"{key} {value:g}" for key, value in row.items()))
