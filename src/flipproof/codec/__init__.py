"""Image to bytes to image."""
