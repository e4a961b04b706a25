"""Plain, frozen values that every room takes and returns. No torch in here."""
