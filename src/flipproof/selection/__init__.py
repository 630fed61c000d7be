"""Which atoms an encoder takes."""
