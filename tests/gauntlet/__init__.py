"""The gauntlet: every kind of model we could find, and what must hold for each of them."""
