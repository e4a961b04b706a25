"""The release, in one place: packaging, provenance and ``--version`` read it here."""

__version__ = "0.1.0"
