"""Proves that a graph is what its model does: traced again, replayed, and counted below Python."""
