"""The ``flipproof`` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from typer.exceptions import TyperException

from flipproof._version import __version__
from flipproof.errors import FlipproofError, SpecError
from flipproof.study.cli import app as study
from flipproof.train.cli import app as train
from flipproof.weights.cli import app as weights

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["app", "main"]

app = typer.Typer(
    help="Keep pictures alive on channels that flip bits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.add_typer(study, name="study")
app.add_typer(train, name="train")
app.add_typer(weights, name="weights")
out, err = Console(), Console(stderr=True)

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

Source = Annotated[Path, typer.Argument(help="File to read.", show_default=False)]
Target = Annotated[Path, typer.Argument(help="File to write.", show_default=False)]
Denoiser = Annotated[str | None, typer.Option(help="Denoiser, as in diffusers:DIRECTORY.", show_default=False)]
Device = Annotated[str | None, typer.Option(help="Where to compute: cpu, cuda.", show_default=False)]
Precision = Annotated[
    str | None, typer.Option(help="Of the denoiser: auto, float32, float16, bfloat16, int8.", show_default=False)
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit


@app.command()
def encode(
    picture: Source,
    file: Target,
    codec: Annotated[str, typer.Option(help="Codec, as in trellis[steps_per_octave=4].")] = "trellis",
    bpp: Annotated[float | None, typer.Option(help="Bits per pixel of the whole file.", show_default=False)] = None,
    psnr: Annotated[float | None, typer.Option(help="Instead: the least PSNR in dB.", show_default=False)] = None,
    priority: Annotated[
        Path | None, typer.Option(help="Gray picture of the same size: what matters is bright.", show_default=False)
    ] = None,
    prior: Denoiser = None,
    device: Device = None,
    precision: Precision = None,
) -> None:
    """Encode a picture."""
    from flipproof import api, registry
    from flipproof.image import to_rgb

    _distinct(picture, file)
    rgb = to_rgb(picture)
    matters = None if priority is None else to_rgb(priority).mean(axis=2)
    made = registry.codec(codec, prior=prior, device=device, precision=precision)
    with _busy(f"encoding {picture.name}"):
        data = api.encode(rgb, made, bpp, psnr, matters)
    file.write_bytes(data)
    rate = 8 * len(data) / (rgb.shape[0] * rgb.shape[1])
    missed = "" if bpp is None or abs(rate / bpp - 1) <= 0.01 else f"; {bpp:g} asked, the nearest below that it can use"
    err.print(f"{file}: {len(data)} bytes, {rate:.4g} bpp{missed}", highlight=False, soft_wrap=True)


@app.command()
def decode(
    file: Source,
    picture: Target,
    codec: Annotated[
        str | None, typer.Option(help="Codec of a file that is not recognised.", show_default=False)
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on any noticed damage.")] = False,
    upto: Annotated[float, typer.Option(min=0, max=1, help="Leading share of the file to use.")] = 1.0,
    reconstruction: Annotated[
        str | None, typer.Option(help="mse (least error), crisp, or sharp (with detail).", show_default=False)
    ] = None,
    prior: Denoiser = None,
    device: Device = None,
    precision: Precision = None,
    views: Annotated[
        int | None, typer.Option(help="Looks at the end of the chain: 1, 2, 4 or 8.", show_default=False)
    ] = None,
) -> None:
    """Decode a file, however damaged, to any format Pillow writes."""
    from PIL import Image

    from flipproof import api
    from flipproof.errors import ImageError
    from flipproof.image import PILLOW_ERRORS

    _distinct(file, picture)
    if Image.registered_extensions().get(picture.suffix.lower()) not in Image.SAVE:
        raise SpecError(f"expected the name of a picture Pillow can write, such as .png, got {picture.name}")
    chosen = {
        "reconstruction": reconstruction,
        "prior": prior,
        "device": device,
        "precision": precision,
        "views": views,
    }
    with _busy(f"decoding {file.name}"):
        result = api.decode(file, codec, strict, upto, **{name: value for name, value in chosen.items() if value})
    try:
        Image.fromarray(result.picture).save(picture)
    except PILLOW_ERRORS as error:
        raise ImageError(f"cannot write {picture}: {getattr(error, 'strerror', None) or error}") from error
    err.print(f"{picture}: {result.status}, {result.damage}", highlight=False, soft_wrap=True)


@app.command()
def corrupt(
    file: Source,
    damaged: Target,
    ber: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability of a flip for every bit; 1e-3 if not said.", show_default=False),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(help="Instead: any channel, as in gilbert-elliott[ber=1e-3,burst=20].", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other damage.")] = 0,
) -> None:
    """Send any file, header included, through a channel; hard decisions are written."""
    from flipproof import registry
    from flipproof.channel.bsc import BinarySymmetricChannel
    from flipproof.seeds import generator

    _distinct(file, damaged)
    if ber is not None and channel is not None:
        raise SpecError(f"expected --ber or --channel, got both: {ber:g} and {channel}")
    made = BinarySymmetricChannel(1e-3 if ber is None else ber) if channel is None else registry.channel(channel)
    data = file.read_bytes()
    received = made.corrupt(data, generator(purpose="corrupt", seed=seed))
    damaged.write_bytes(received)
    flips = (int.from_bytes(data, "big") ^ int.from_bytes(received, "big")).bit_count()
    what = f"{flips} of {8 * len(data)} bits flipped"
    if len(received) != len(data):
        what = f"{len(received)} bytes of {len(data)} sent"
    err.print(f"{damaged}: {what}", highlight=False, soft_wrap=True)


@app.command()
def info(file: Source) -> None:
    """Show what is in a file: of .flip files every field, with bit counts."""
    from flipproof.info import describe

    for table in describe(file.read_bytes()):
        out.print(_table(*table))


@app.command()
def codecs() -> None:
    """List the codecs and their parameters."""
    from flipproof.info import list_codecs

    out.print(_table("codecs", ("codec", "parameters", "what it is"), list_codecs()))


@app.command()
def channels() -> None:
    """List the channels and their parameters."""
    from flipproof.info import list_channels

    out.print(_table("channels", ("channel", "parameters", "what it does"), list_channels()))


def main() -> None:
    """Runs the command; failures are one line on standard error and exit code 2, or 130 after Ctrl-C."""
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        _fail(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except OSError as error:
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except (FlipproofError, ValueError) as error:
        _fail(str(error))
    if code == INTERRUPTED:
        err.print("flipproof: interrupted", style="red")
    sys.exit(code)


def _distinct(source: Path, target: Path) -> None:
    """Refuses to write over what is read."""
    if target.exists() and source.exists() and source.samefile(target):
        raise SpecError(f"expected two different files, got {source} twice")


def _busy(what: str) -> Progress:
    """Returns a line for terminals that says what goes on, and for how long; a context manager."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    line = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    line.add_task(what, total=None)
    return line


def _fail(message: str) -> NoReturn:
    if message:
        err.print(f"flipproof: {message.splitlines()[0]}", style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(2)


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table
