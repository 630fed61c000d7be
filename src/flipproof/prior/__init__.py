"""Pretrained denoisers."""
