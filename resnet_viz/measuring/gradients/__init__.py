"""Gradient flow: one forward and backward per batch, metered at calls, parameters and edges."""
