"""Where models, inputs and images come from."""
