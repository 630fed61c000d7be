"""Reproducible noise atoms."""
