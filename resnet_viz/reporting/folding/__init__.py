"""Repeats drawn once: what stands for what, and how that looks in boxes and rows."""
