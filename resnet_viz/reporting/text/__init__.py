"""What a terminal shows: the report, its measured parts, checkpoints and choices."""
