"""How far to trust an attribution: what is tested of a map, and a verdict in words."""
