"""Pretrained denoisers."""

__all__ = ["SMALL_SHA256"]

SMALL_SHA256 = "e044a3d5ea0b3a749105c39970b4dc261b02366ed39aa015cf5600615f0e3836"
"""SHA-256 of the weights file shipped in the package."""
