"""Several processes that measure one thing: who they are, and what they share."""
