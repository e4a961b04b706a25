"""Models that come as one file: programs of ``torch.export``, and pickled modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError, one_line
from resnet_viz.sources.exported import ExportedModel, module_of
from resnet_viz.sources.programs import archive_kind, example_of, load_program

SCRIPT = "whose inside cannot be seen: give the Python class it was made from"


def read_model(path: Path, *, unsafe: bool = False) -> nn.Module | ExportedProgram:
    """The model that a file holds whole.

    Args:
        path: A ``.pt2`` file, or a torch file.
        unsafe: Whether code that the file brings may run.

    Raises:
        UserError: If it holds no model, or one that only code of its own can make.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    kind = archive_kind(path)
    if kind == "script":
        raise UserError(f"{path} is a TorchScript archive, {SCRIPT}")
    if path.suffix == ".pt2" or kind in ("program", "old program"):
        return load_program(path, unsafe=unsafe)
    found = _unpickled(path) if unsafe and path.suffix != ".safetensors" else None
    if isinstance(found, nn.Module):
        return found
    raise UserError(
        f"{path} holds weights, not a model: resnet-viz inspect {path} shows them; to see edges "
        f"give the model and --weights {path}"
        + ("" if unsafe else " (a pickled model needs --unsafe-load)")
    )


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # Unpickling runs code of anybody's.
        raise UserError(f"{path} does not unpickle: {one_line(error, 160)}") from error


def exported(program: ExportedProgram) -> tuple[ExportedModel, Batch, tuple[str, ...]]:
    """A program as a module, its inputs, and what to know about it."""
    note = (
        "a program of torch.export: dropout and norms run in the mode of the export, and modules "
        "that the export left out are not there"
    )
    return module_of(program), example_of(program), (note,)
