"""Blocks of a classifier deleted and permuted at test time."""
