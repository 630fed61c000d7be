"""The packages that only studies need: missing ones become a typed error with the install command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from flipproof.errors import MissingExtraError

__all__ = ["check_extras", "needs_extra"]

_PACKAGES = ("duckdb", "filelock", "fsspec", "jinja2", "matplotlib", "pyarrow", "pydantic", "scipy", "skimage")


@contextmanager
def needs_extra() -> Iterator[None]:
    """Wraps the imports of optional packages.

    Raises:
        MissingExtraError: A package imported inside is not installed.

    Example:
        >>> with needs_extra():
        ...     import nosuch.module
        Traceback (most recent call last):
        flipproof.errors.MissingExtraError: nosuch is not installed; run: pip install 'flipproof[study]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError((error.name or "a package").partition(".")[0], "study") from error


def check_extras() -> None:
    """Checks, without importing them, that the packages are there before hours of work begin.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package, "study")
