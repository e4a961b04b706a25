"""Nets that come with their weights, so that there is something learned to look at offline."""
