"""Which samples make which batch, and which rank reads it: pure functions."""
