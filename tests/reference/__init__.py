"""A decoder for the shipped prior, written from docs/format.md alone: it imports nothing of flipproof.

It is made to be read beside that page and is in no hurry. The weights are those of the package's file.
"""
