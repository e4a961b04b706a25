"""Experiments that made residual nets famous, run here: one folder for each.

Each begins at ``run.py``, whose one function returns a value of ``core.experiments``. The
only room that trains, and the only one that sets threads, in worker processes of its own.
"""
