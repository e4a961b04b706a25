"""Which places of its operands each op of a graph reaches, for receptive fields."""
