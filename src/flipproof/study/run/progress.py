"""Where a running study stands."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass(frozen=True)
class Progress:
    """Where a study stands.

    Attributes:
        done: Cells that are on disk or about to be.
        total: Cells that are known to be needed; a stopping rule may ask for more.
        earlier: Those of ``done`` that an earlier run did.
        failures: Received files without a picture so far, in this run.
        errors: Cells without a received file so far, in this run.
        label: What ended last.
    """

    done: int
    total: int
    earlier: int
    failures: int
    errors: int
    label: str
