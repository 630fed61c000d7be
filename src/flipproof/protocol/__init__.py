"""How selections become bits."""
