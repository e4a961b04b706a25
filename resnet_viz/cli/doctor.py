"""What is installed here, what is missing, and what the missing piece is for."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from resnet_viz.core.version import __version__

_CORE = (
    "torch", "captum", "networkx", "graphviz", "click", "rich", "jinja2", "pillow",
    "safetensors", "resvg-py",
)  # fmt: skip
_OPTIONAL = {
    "torchvision": "models named torchvision:NAME, and their weights",
    "timm": "models named timm:NAME",
    "transformers": "models named hf:PATH_OR_ID",
    "matplotlib": "the default photograph (captum brings it)",
}


def examine() -> Iterator[str]:
    """One line per fact."""
    yield f"resnet-viz {__version__}, Python {platform.python_version()}, {platform.platform()}"
    for name in _CORE:
        yield _line(name, "reinstall resnet-viz", True)
    for name, purpose in _OPTIONAL.items():
        yield _line(name, f"pip install {name} for {purpose}", False)
    dot = shutil.which("dot")
    yield f"✓ dot {dot}" if dot else "– dot: only --engine dot and pdf need it (install Graphviz)"
    yield _templates()
    yield _device()


def _line(name: str, advice: str, needed: bool) -> str:
    try:
        return f"✓ {name} {version(name)}"
    except PackageNotFoundError:
        return f"{'✗' if needed else '–'} {name} is missing: {advice}"


def _templates() -> str:
    from importlib.resources import files

    if files("resnet_viz").joinpath("templates", "report.html.j2").is_file():
        return "✓ templates"
    return "✗ templates are missing: reinstall resnet-viz (a checkout needs symbolic links)"


def _device() -> str:
    if importlib.util.find_spec("torch") is None:
        return "✗ device: torch is missing"
    import torch

    from resnet_viz.measuring.device import pick_device

    device = pick_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"✓ device auto: {device} ({name})"
