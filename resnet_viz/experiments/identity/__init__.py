"""A deep net whose extra blocks answer zero equals a shallow one, bit by bit."""
