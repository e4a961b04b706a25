"""What the experiments found, as values: one module for each."""
