"""Pretrained denoisers."""

__all__ = ["SMALL_SHA256"]

SMALL_SHA256 = "8267c617bdb0226e728212f20d912e7e0617994493326d4fcbb952da7227013d"
"""SHA-256 of the weights file shipped in the package."""
