"""How long each call of a forward takes."""
