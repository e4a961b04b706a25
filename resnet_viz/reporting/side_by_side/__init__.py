"""Two aligned models as one drawing: matched parts at the same height, differences marked."""
