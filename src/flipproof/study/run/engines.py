"""Engines by name."""

from __future__ import annotations

from dataclasses import dataclass

from flipproof.errors import SpecError, UnknownNameError
from flipproof.study.run.engine import Engine, SerialEngine

__all__ = ["ENGINES", "Placement", "make_engine"]

ENGINES = ("local", "ray", "serial")
"""Processes of this machine, a Ray cluster, this process."""


@dataclass(frozen=True)
class Placement:
    """Where jobs run.

    Attributes:
        workers: Number of workers; None for as many as there is room for.
        threads: Threads (on a cluster: processors) of each worker; None for an even share.
        gpus: GPUs of each worker, parts of one too; on a cluster only.
        address: Of a Ray cluster; None for one that is started here.
    """

    workers: int | None = None
    threads: int | None = None
    gpus: float = 0.0
    address: str | None = None


def make_engine(name: str, placement: Placement) -> Engine:
    """Makes an engine.

    Raises:
        UnknownNameError: There is no such engine.
        SpecError: An option does not fit it.
        MissingExtraError: It needs a package that is not installed.
    """
    if name not in ENGINES:
        raise UnknownNameError("engine", name, list(ENGINES))
    if name != "ray" and (placement.address is not None or placement.gpus):
        raise SpecError(f"study: expected --address and --gpus with the engine ray, got the engine {name}")
    if name == "serial":
        return SerialEngine()
    if name == "local":
        from flipproof.study.run.local import LocalEngine

        return LocalEngine(placement.workers, placement.threads)
    from flipproof.study.run.cluster import RayEngine

    return RayEngine(
        address=placement.address, workers=placement.workers, cpus=placement.threads or 1, gpus=placement.gpus
    )
