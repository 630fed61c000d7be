"""Files without a picture."""

from __future__ import annotations


class NoPictureError(Exception):
    """The bytes break a constraint of the format."""


def require(condition: object) -> None:
    """Refuses a file unless a constraint holds."""
    if not condition:
        raise NoPictureError
