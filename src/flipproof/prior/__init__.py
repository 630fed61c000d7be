"""Pretrained denoisers."""

from flipproof.prior.shipped import SHIPPED

__all__ = ["SHIPPED", "SMALL_SHA256"]

SMALL_SHA256 = SHIPPED["small"].sha256
"""SHA-256 of the shipped weights that encoders use."""
