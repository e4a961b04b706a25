"""Wheel and sdist: both hold the templates, and a report renders far from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

RENDER = """
import pathlib, sys
import resnet_viz
from resnet_viz.core.graph import Edge, GraphOutput, ModelGraph, ModuleNode, Op, OpId, TensorSpec
from resnet_viz.core.report import Report
from resnet_viz.core.structure import Cost, Costs, Structure

home = pathlib.Path(resnet_viz.__file__).resolve()
assert home.is_relative_to(sys.argv[1]), f"imported from {home}"
spec = TensorSpec(shape=(1, 8), dtype="float32")
x = Op(id=OpId("input#0"), kind="input", target="input", module="", outputs=(spec,), label="x")
y = Op(id=OpId("act/relu#0"), kind="relu", target="torch.relu", module="act", outputs=(spec,))
graph = ModelGraph(
    name="tiny",
    inputs=(x,),
    ops=(y,),
    edges=(Edge(src=x.id, out_slot=0, dst=y.id, in_slot=0),),
    modules=(
        ModuleNode(path="", type_name="Tiny", children=("act",), calls=1),
        ModuleNode(path="act", type_name="ReLU", calls=1),
    ),
    outputs=(GraphOutput(name="out", src=y.id),),
)
zero = Cost(key="total", params=0, macs=0, activation_bytes=32)
costs = Costs(total=zero, ops=(), modules=(), blocks=(), stages=())
report = Report(
    graph=graph, structure=Structure(skips=(), blocks=(), stages=(), costs=costs)
)
for name in ("report.html", "report.svg", "report.png"):
    print(report.save(name), pathlib.Path(name).stat().st_size)
"""


def _run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _wheel(source: Path, out: Path) -> Path:
    _run(
        sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation",
        "--no-index", "-w", out, cwd=out,
    )  # fmt: skip
    (wheel,) = out.glob("*.whl")
    return wheel


def _templates() -> set[str]:
    """Template files of the checkout, as paths inside ``templates/``."""
    base = ROOT / "templates"
    return {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", out, cwd=ROOT)
    (archive,) = out.glob("*.tar.gz")
    return archive


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_checkout_has_one_copy_of_the_templates():
    link = ROOT / "resnet_viz" / "templates"
    assert link.is_symlink()
    assert os.readlink(link) == "../templates"  # noqa: PTH115
    assert {"base.html.j2", "report.html.j2"} <= _templates()
    assert any(name.startswith("assets/fonts/") for name in _templates())


def test_the_wheel_holds_package_templates_and_licences(wheel):
    names = _names(wheel)
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "resnet_viz").rglob("*.py")}
    assert modules <= names
    assert {f"resnet_viz/templates/{name}" for name in _templates()} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not {name for name in names if name.startswith(("tests/", "templates/", "cli.py"))}


def test_an_installed_wheel_renders_far_from_the_checkout(wheel, tmp_path):
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    _run(
        sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target,
        wheel, cwd=elsewhere,
    )  # fmt: skip
    (elsewhere / "render.py").write_text(RENDER, "utf-8")
    env = {**os.environ, "PYTHONPATH": str(target)}
    _run(sys.executable, "render.py", target, cwd=elsewhere, env=env)
    assert (elsewhere / "report.html").read_bytes().lower().startswith(b"<!doctype html")
    assert (elsewhere / "report.svg").read_bytes().startswith(b"<svg")
    assert (elsewhere / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_sdist_builds_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (p for p in tmp_path.iterdir() if p.is_dir())
    for name in ("templates", "tests", "examples", "benchmarks", "cli.py", "README.md", "LICENSE"):
        assert (unpacked / name).exists(), name
    out = tmp_path / "out"
    out.mkdir()
    assert _names(_wheel(unpacked, out)) == _names(wheel)


def test_the_command_line_door_stays_in_the_checkout():
    assert "resnet_viz.cli" in (ROOT / "cli.py").read_text("utf-8")
