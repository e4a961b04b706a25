"""Importing: every module loads, every public name is there, nothing heavy comes along."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import resnet_viz

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(resnet_viz.__path__, "resnet_viz.")
    if not module.name.endswith("__main__")
)  # fmt: skip
HEAVY = ("torch", "captum", "networkx", "torchvision", "numpy", "graphviz", "resvg_py", "PIL")


def _loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after this code."""
    tell = "print('loaded:', *sorted({m.partition('.')[0] for m in sys.modules}))"
    probe = f"import sys\n{code}\n{tell}"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_every_room_is_there():
    rooms = {name.split(".")[1] for name in MODULES}
    assert {"core", "sources", "tracing", "analysis", "measuring", "reporting", "cli"} <= rooms


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports_and_says_why_it_exists(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("name", ["resnet_viz", *MODULES])
def test_every_promised_name_is_there_whatever_was_imported_before(name):
    # A lazy name that shares its name with a submodule is replaced by it on import.
    for other in MODULES:
        importlib.import_module(other)
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        assert not inspect.ismodule(value), f"{name}.{public} is a module"


def test_the_public_names_are_the_lazy_ones():
    assert sorted(resnet_viz.__all__) == sorted([*resnet_viz._HOME, "__version__"])
    assert set(resnet_viz.__all__) <= set(dir(resnet_viz))
    with pytest.raises(AttributeError, match="no attribute 'trase'"):
        resnet_viz.trase  # noqa: B018


def test_no_function_shares_its_name_with_a_submodule_beside_it():
    for name in ["resnet_viz", *MODULES]:
        module = importlib.import_module(name)
        if not hasattr(module, "__path__"):
            continue
        submodules = {found.name for found in pkgutil.iter_modules(module.__path__)}
        promised = set(getattr(module, "__all__", ()))
        assert not submodules & promised, f"{name}: {submodules & promised}"


def test_importing_the_package_is_free():
    loaded = _loaded_after("import resnet_viz; dir(resnet_viz); resnet_viz.UserError")
    assert not loaded & {*HEAVY, "click", "rich", "jinja2"}


def test_importing_reports_and_values_is_cheap():
    loaded = _loaded_after("import resnet_viz.reporting, resnet_viz.core.schema")
    assert not loaded & {*HEAVY, "click", "rich", "jinja2"}


def test_help_is_cheap():
    loaded = _loaded_after(
        "from resnet_viz.cli import main\n"
        "sys.argv = ['resnet-viz', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code"
    )
    assert "click" in loaded
    assert not loaded & set(HEAVY)
