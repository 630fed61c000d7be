"""BPG (Better Portable Graphics): HEVC intra pictures under a small header, read and written with PyAV.

The format is Fabrice Bellard's (https://bellard.org/bpg/, specification 0.9.5); HEVC is ITU-T Recommendation H.265.

- :mod:`flipproof.bpg.header`: the header of a file;
- :mod:`flipproof.bpg.syntax`: numbers of variable length, network abstraction layer (NAL) units;
- :mod:`flipproof.bpg.tree`: the part of an HEVC sequence parameter set that a file holds, and the rest that it implies;
- :mod:`flipproof.bpg.sequence`: reads the sequence parameter set of an encoder;
- :mod:`flipproof.bpg.chroma`, :mod:`flipproof.bpg.colour`: the integer filters and matrices of the reference software;
- :mod:`flipproof.bpg.picture`: what a file holds, as RGB;
- :mod:`flipproof.bpg.decoder`, :mod:`flipproof.bpg.encoder`: files in and out.
"""
