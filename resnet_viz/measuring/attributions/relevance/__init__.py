"""How much every op, block and branch added to the score on the way from x′ to x."""
