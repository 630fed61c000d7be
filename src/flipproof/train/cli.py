"""``flipproof train``: makes the weights of a prior or a learned codec again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(help="Train a prior or a learned codec.", no_args_is_help=True)
console = Console(stderr=True)


@app.callback()
def _group() -> None:
    """Train a prior or a learned codec."""


@app.command()
def small(
    data: Annotated[Path, typer.Option(help="Folder with index.tsv and *.tar of photographs.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, weights and log.")] = Path("runs/small"),
    init: Annotated[Path | None, typer.Option(help="Weights (safetensors) to start from.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in the output folder.")] = False,
    yardstick: Annotated[Path | None, typer.Option(help="Kodak folder to validate on.")] = None,
    steps: Annotated[int, typer.Option(min=1)] = 6000,
    batch: Annotated[int, typer.Option(min=1)] = 16,
    patch: Annotated[int, typer.Option(min=32, help="Side of a patch, a multiple of 16.")] = 96,
    learning_rate: Annotated[float, typer.Option(min=0)] = 5e-4,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 250,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Train the small prior; with --resume, go on where the last run stopped."""
    import torch

    from flipproof.errors import SpecError
    from flipproof.prior.load import check_device
    from flipproof.prior.small import SmallPrior
    from flipproof.prior.unet import UNet
    from flipproof.train.data import PhotoSet
    from flipproof.train.loop import Recipe, Trainer, train
    from flipproof.train.yardstick import yardstick as measure

    if patch % 16:
        raise SpecError(f"expected a patch whose side is a multiple of 16, got {patch}")
    check_device(device)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    net = SmallPrior.from_bytes(init.read_bytes()).net.train().requires_grad_(True) if init else UNet()
    recipe = Recipe(steps=steps, batch=batch, patch=patch, learning_rate=learning_rate, seed=seed)
    trainer = Trainer(recipe, net, device)
    if resume:
        trainer.restore(out / "checkpoint.safetensors")
    photos = PhotoSet.load(data)
    console.print(f"{len(photos.groups)} photographs, step {trainer.step} of {steps}")

    def validate(net: UNet) -> dict[str, float]:
        return measure(SmallPrior(net, 0), yardstick) if yardstick else {}

    train(trainer, photos, out, _report, validate, every)


@app.command()
def hyperprior(
    data: Annotated[Path, typer.Option(help="Folder with index.tsv and *.tar of photographs.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, weights and log.")] = Path("runs/hyperprior"),
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in the output folder.")] = False,
    check: Annotated[Path | None, typer.Option(help="Folder of PNG files to check on.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Time to train for, from the start of the first run.")] = 90,
    batch: Annotated[int, typer.Option(min=1)] = 8,
    patch: Annotated[int, typer.Option(min=64, help="Side of a crop, a multiple of 64.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-3,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    every: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")] = 180,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Train the networks of the codec hyperprior; with --resume, go on where the last run stopped."""
    import torch

    from flipproof.errors import SpecError
    from flipproof.learned.hyperprior import Hyperprior
    from flipproof.prior.load import check_device
    from flipproof.train.data import PhotoSet
    from flipproof.train.hyperprior import Recipe, Trainer, rate_distortion, train
    from flipproof.train.pyramid import Pyramid

    if patch % 64:
        raise SpecError(f"expected a patch whose side is a multiple of 64, got {patch}")
    check_device(device)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    recipe = Recipe(seconds=60 * minutes, batch=batch, patch=patch, learning_rate=learning_rate, seed=seed)
    trainer = Trainer(recipe, Hyperprior(), device)
    if resume:
        trainer.restore(out / "checkpoint.safetensors")
    photos = Pyramid(PhotoSet.load(data), patch)
    console.print(f"{len(photos.groups)} photographs, {trainer.seconds:.0f} of {recipe.seconds:.0f} seconds")
    train(trainer, photos, out, _report, lambda net: rate_distortion(net, check) if check else {}, every)


def _report(row: dict[str, Any]) -> None:
    console.print("  ".join(f"{key} {value:g}" for key, value in row.items()))
