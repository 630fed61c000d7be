"""Error correction."""
