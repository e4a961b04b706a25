"""The published nets by name, one table per paper.

A name is the one other libraries use for the same net; where they have none, ``_a``,
``_b``, ``_c`` name the shortcut option and ``_v1`` the stride in the first 1×1.
"""
