"""The HTML report: its numbers as texts, its tables and charts, and the page around them."""
