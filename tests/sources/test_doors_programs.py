"""``.pt2`` files that would run code, or are broken: one line, and nothing has run."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim, export

import resnet_viz as rv
from resnet_viz.sources.programs import load_program

Change = Callable[[str, bytes], bytes | None]


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.sprung,)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "net.pt2"
    torch.export.save(
        export(nn.Linear(3, 2), (torch.ones(4, 3),), dynamic_shapes=({0: Dim("b")},)), file
    )
    return file


def rewritten(file: Path, change: Change, **more: bytes) -> Path:
    """The archive with each record as ``change`` gives it; ``None`` leaves it out."""
    out = file.with_name("changed.pt2")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = change(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in more.items():
            new.writestr(f"net/{name}", content)
    return out


def pickled(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def weights_as_pickles(name: str, content: bytes) -> bytes:
    if not name.endswith("weights_config.json"):
        return content
    config = json.loads(content)
    config["config"]["weight"]["use_pickle"] = True
    return json.dumps(config).encode()


def custom_object(name: str, content: bytes) -> bytes:
    if not name.endswith("constants_config.json"):
        return content
    entry = {
        "path_name": "custom_obj_0",
        "is_param": False,
        "use_pickle": False,
        "tensor_meta": None,
    }
    return json.dumps({"config": {"thing": entry}}).encode()


def replacing(pattern: str, new: str) -> Change:
    def change(name: str, content: bytes) -> bytes:
        if not name.startswith("models/"):
            return content
        changed = re.sub(pattern.encode(), new.encode(), content)
        assert changed != content
        return changed

    return change


def same(_name: str, content: bytes) -> bytes:
    return content


HOSTILE: dict[str, tuple[Change, str]] = {
    "pickled weights": (weights_as_pickles, "'weight' as a pickle"),
    "custom object": (custom_object, "as a custom object"),
    "a function of torch": (
        replacing(r"torch\.ops\.aten\.linear\.default", "torch.load"),
        "'torch.load'",
    ),
    "a function of operator": (
        replacing(r"torch\.ops\.aten\.linear\.default", "_operator.attrgetter"),
        "_operator.attrgetter",
    ),
    "an expression": (
        replacing(r'"expr_str": "[^"]*"', '"expr_str": "print(chr(65))"'),
        "as a size",
    ),
    "an attribute": (
        replacing(r'"expr_str": "[^"]*"', '"expr_str": "Integer(1).func.mro()"'),
        "as a size",
    ),
    "a type by name": (
        replacing(r'"in_spec": "', '"in_spec": "default_factory_module '),
        "imported by name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_could_run_code_is_refused(kind: str, program: Path) -> None:
    change, words = HOSTILE[kind]

    with pytest.raises(rv.UserError, match=re.escape(words)) as refused:
        rv.trace(str(rewritten(program, change)))

    assert "--unsafe-load" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings("ignore")
def test_a_trap_in_the_sample_inputs_is_sprung_only_where_that_is_asked_for(
    program: Path, tmp_path: Path
) -> None:
    sprung = tmp_path / "sprung"
    trap = pickled(((torch.ones(4, 3),), {"trap": Trap(sprung)}))
    file = rewritten(program, lambda name, c: trap if "sample_inputs" in name else c)

    with pytest.raises(rv.UserError, match="pickled sample inputs"):
        load_program(file)
    assert not sprung.exists()

    load_program(file, unsafe=True)
    assert sprung.exists()


@pytest.mark.parametrize(
    "record", ["data/weights/model.pt", "data/constants/model.pt", "data/aotinductor/model/x.so"]
)
def test_pickles_and_compiled_code_beside_the_program(record: str, program: Path) -> None:
    with pytest.raises(rv.UserError, match="--unsafe-load"):
        load_program(rewritten(program, same, **{record: b"x"}))


def test_broken_files_are_one_line(program: Path, tmp_path: Path) -> None:
    with pytest.raises(rv.UserError, match=r"is broken: models/model\.json") as refused:
        load_program(rewritten(program, lambda n, c: b"{" if n.startswith("models/") else c))
    assert "\n" not in str(refused.value)
    for change, words in (
        (lambda n, c: None if n.endswith("weights_config.json") else c, "does not load"),
        (lambda n, c: b"[" * 100_000 if n.startswith("models/") else c, "is broken"),
        (lambda n, c: c[:8] if n.startswith("data/weights/weight") else c, "does not load"),
    ):
        with pytest.raises(rv.UserError, match=words):
            load_program(rewritten(program, change))
    for content in (b"", b"PK", program.read_bytes()[:2000]):
        cut = tmp_path / "cut.pt2"
        cut.write_bytes(content)
        with pytest.raises(rv.UserError, match="no archive that torch can read"):
            rv.trace(str(cut))


@pytest.mark.filterwarnings("ignore")
def test_other_archives_say_what_they_are(tmp_path: Path) -> None:
    script, tensors = tmp_path / "script.pt", tmp_path / "tensors.pt2"
    torch.jit.script(nn.Linear(2, 2)).save(script)
    torch.save({"w": torch.ones(2)}, tensors)

    with pytest.raises(rv.UserError, match="TorchScript archive, whose inside cannot be seen"):
        rv.trace(str(script))
    with pytest.raises(rv.UserError, match="resnet-viz inspect shows them"):
        rv.trace(str(tensors))
    with pytest.raises(rv.UserError, match=r"torch\.jit\.load"):
        rv.load("resnet20", weights=str(script))


def test_a_pickled_model_needs_trust(tmp_path: Path) -> None:
    file = tmp_path / "whole.pt"
    torch.save(nn.Linear(3, 2), file)

    with pytest.raises(rv.UserError, match="a pickled model needs --unsafe-load"):
        rv.load(str(file))
    assert isinstance(rv.load(str(file), unsafe_load=True).model, nn.Linear)


def test_weights_come_out_of_a_program_too(tmp_path: Path) -> None:
    model = rv.build("resnet20").eval()
    file = tmp_path / "r20.pt2"
    torch.export.save(export(model, (torch.ones(1, 3, 32, 32),)), file)

    loaded = rv.load("resnet20", weights=str(file), seed=5)

    assert torch.equal(loaded.model.state_dict()["conv1.weight"], model.conv1.weight)
