"""Decoders against bytes that nobody meant for them: targets, and a runner that lets coverage lead the way."""
