"""A folder that lets an experiment go on where it was interrupted.

It holds ``settings.json``, ``in-use`` (see ``holding``), and for each net
``plain56-seed0.pt`` (weights, momentum and what was recorded, after the last whole epoch)
and, once it is done, ``plain56-seed0.json``.
Every file is written under another name first: what is there is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.experiments.common import LayerNorms
from resnet_viz.core.experiments.degradation import Epoch, TrainedNet
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.experiments.degradation.holding import NAME, held

if TYPE_CHECKING:
    from resnet_viz.experiments.degradation.training import NetTask, Running

_UNFINISHED = ".unfinished"


def open_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Makes the folder, or checks that what it holds was made with these settings.

    Args:
        folder: Where progress is kept.
        settings: All that the numbers depend on, in JSON's own types.

    Raises:
        UserError: If its settings are others, with the first that differ, or if it
            cannot be written.
    """
    path = folder / "settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = json.loads(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise UserError(f"folder {folder} cannot be used: {one_line(error, 120)}") from error
    remove_unfinished(folder)
    if known is None:
        foreign = next((p for p in folder.iterdir() if p.suffix in (".pt", ".json")), None)
        if foreign is not None:
            raise UserError(
                f"folder {folder} holds {foreign.name} but no settings.json of an experiment: "
                "give a folder of its own"
            )
        _write(path, json.dumps(settings, indent=1).encode())
    elif known != settings:
        there = known if isinstance(known, dict) else {}
        keys = [k for k in (settings | there) if there.get(k) != settings.get(k)]
        told = "; ".join(f"{k} {there.get(k)} there, {settings.get(k)} now" for k in keys[:3])
        raise UserError(
            f"folder {folder} holds a run with other settings ({told}): delete it, "
            "give another folder, or the same settings to go on"
        )


def remove_unfinished(folder: Path) -> None:
    """Takes away what a worker had begun to write when it was stopped."""
    for path in folder.glob(f"*{_UNFINISHED}"):
        path.unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Takes away what an experiment kept there, and the folder where nothing else is in it.

    A folder that another run holds is left to that run.
    """
    if not (folder / "settings.json").is_file():
        return
    with contextlib.suppress(UserError), held(folder):
        remove_unfinished(folder)
        nets = (*folder.glob("*-seed*.pt"), *folder.glob("*-seed*.json"))
        for path in (folder / "settings.json", folder / NAME, *nets):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def load_finished(folder: Path, task: NetTask) -> TrainedNet | None:
    """The net, if it is done; one without its lesions is not where they are wanted.

    Raises:
        UserError: If its file cannot be read.
    """
    path = _path(folder, task, ".json")
    if not path.is_file():
        return None
    try:
        net = from_json(path.read_text("utf-8"))
    except (OSError, ValueError, UserError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(net, TrainedNet):
        raise _unreadable(path, TypeError(f"it holds a {type(net).__name__}"))
    return None if task.lesions and net.lesions is None else net


def save_finished(folder: Path, task: NetTask, net: TrainedNet) -> None:
    """Writes a net that is done.

    Raises:
        UserError: If it cannot be written.
    """
    _write(_path(folder, task, ".json"), to_json(net, indent=1).encode())


def save_running(folder: Path, task: NetTask, net: Running) -> None:
    """Writes a net after a whole epoch; ``torch.load(…, weights_only=True)`` reads it.

    Raises:
        UserError: If it cannot be written.
    """
    content = {
        "state_dict": net.model.state_dict(),
        "velocities": net.optimizer.velocities,
        "weights_digest": net.weights_digest,
        "gradients": [dataclasses.asdict(norms) for norms in net.gradients],
        "epochs": [dataclasses.asdict(epoch) for epoch in net.epochs],
        "seconds": net.seconds,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    _write(_path(folder, task, ".pt"), buffer.getvalue())


def restore_running(folder: Path, task: NetTask, net: Running) -> None:
    """Puts a net where its checkpoint was; leaves it alone where there is none.

    Raises:
        UserError: If the checkpoint cannot be read, or is of another net.
    """
    path = _path(folder, task, ".pt")
    if not path.is_file():
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        digest = content["weights_digest"]
        if digest != net.weights_digest:
            raise ValueError("it began with other weights")
        net.model.load_state_dict(content["state_dict"])
        net.optimizer.restore(content["velocities"])
        net.gradients = [
            LayerNorms(
                step=norms["step"], layers=tuple(norms["layers"]), norms=tuple(norms["norms"])
            )
            for norms in content["gradients"]
        ]
        net.epochs = [Epoch(**epoch) for epoch in content["epochs"]]
        net.seconds = content["seconds"]
    except Exception as error:  # Bytes that are no checkpoint break the reader in any way.
        raise _unreadable(path, error) from error


def _path(folder: Path, task: NetTask, suffix: str) -> Path:
    return folder / f"{task.variant}-seed{task.seed}{suffix}"


def _unreadable(path: Path, error: BaseException) -> UserError:
    return UserError(
        f"{path} cannot be read ({one_line(error, 120)}): delete it, and this net begins anew"
    )


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            # Or a power cut could leave the new name with none of the content.
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {one_line(error, 120)}") from error
