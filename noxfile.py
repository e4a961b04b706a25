"""The checks, defined once: ``nox`` here and in CI run the same words.

Sessions run in the environment nox itself runs in (``pip install -e ".[dev]"``):
one virtual environment with torch costs gigabytes, five would cost five times that.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "imports", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.run("ruff", "check", ".", external=True)
    session.run("ruff", "format", "--check", ".", external=True)


@nox.session
def types(session: nox.Session) -> None:
    """Types of the package, strictly."""
    session.run("mypy", external=True)


@nox.session
def imports(session: nox.Session) -> None:
    """The import law of pyproject.toml."""
    # The cache remembers modules as they were before they existed.
    session.run("lint-imports", "--no-cache", external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests; arguments after ``--`` go to pytest."""
    session.run("pytest", *session.posargs, external=True)


@nox.session
def browser(session: nox.Session) -> None:
    """The tests that drive Chromium; here a missing browser is a failure."""
    session.run(
        "pytest", "-m", "browser", *session.posargs,
        env={"RESNET_VIZ_BROWSER": "required"}, external=True,
    )  # fmt: skip


@nox.session
def examples(session: nox.Session) -> None:
    """Every example, in a folder of its own."""
    here = Path.cwd() / "examples"
    with session.chdir(session.create_tmp()):
        for example in sorted(here.glob("*.py")):
            session.run("python", str(example), external=True)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The speed ratios, measured in one run."""
    session.run("python", "benchmarks/speed.py", *session.posargs, external=True)
