"""What learned codecs are made of: networks, their entropy models, and the files they write."""
