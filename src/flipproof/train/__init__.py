"""Making the weights of a prior."""
