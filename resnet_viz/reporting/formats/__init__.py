"""The diagram in each file format, one file per format."""
