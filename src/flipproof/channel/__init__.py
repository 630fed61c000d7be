"""What happens to bits between encoder and decoder."""
