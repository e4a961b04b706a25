"""Attributions for a reader: contact sheet, verdicts, what each depth sees, relevance."""
