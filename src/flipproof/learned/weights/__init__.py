"""Weights of learned codecs shipped in the package."""

__all__ = ["HYPERPRIOR_SHA256"]

HYPERPRIOR_SHA256 = "03333ef3bb934429a1351c95abcabd8e01b8f2698da58160c6ee12a2b004f554"
"""SHA-256 of ``hyperprior.safetensors``."""
