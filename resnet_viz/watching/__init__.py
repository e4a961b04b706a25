"""Gradient flow around a user's own training loop: ``rv.watch``, its sinks and its history."""
