"""What all tests share: one thread per process, fixed hypothesis settings, the gpu marker."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Read once, when torch (or BLAS) is first imported, and inherited by subprocesses: with
# one test process per core more threads only make each other wait.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# What a script starts in the background ignores Ctrl-C, and so would every process we test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "house",
    # Time per example says more about the neighbours on a shared machine than about us.
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
# What is checked in of one commit must be the same every time; new examples are looked for
# everywhere else.
settings.register_profile("ci", settings.get_profile("house"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "house")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.accelerator.is_available():
            pytest.skip("no accelerator on this machine")
