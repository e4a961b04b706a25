"""How a gradient vanishes or explodes with depth, beside what theory says of it."""
