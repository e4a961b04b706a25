"""What bad input gets: one clear line, the documented exit code, nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from resnet_viz.cli import cli
from resnet_viz.cli.terminal import run_and_exit
from resnet_viz.sources.variants import build
from tests.cli.conftest import Ran

Viz = Callable[..., Ran]
ROOT = Path(__file__).resolve().parents[2]

NETS = """
import torch
from torch import nn

class NeedsDepth(nn.Module):
    def __init__(self, depth):
        super().__init__()

class Fine(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        return self.conv(x).mean((2, 3))

class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3))
    def forward(self, x):
        x = self.inner(x)
        raise KeyError("lost")
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    file = tmp_path / "nets.py"
    file.write_text(NETS)
    return file


def test_an_unknown_model_is_told_its_near_misses(viz: Viz) -> None:
    ran = viz("report", "resnet51")
    assert ran.code == 2
    assert "resnet51" in ran.error
    assert "resnet50" in ran.error


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--target", "²"),
        ("--target", "--5"),
        ("--seed", "99999999999999999999"),
        ("--seed", "-1"),
        ("--mean", "nan"),
        ("--std", "inf,1,1"),
        ("--input", "1×3×99999999999×99999999999"),
    ],
)
def test_numbers_that_are_none_or_out_of_bounds(viz: Viz, option: str, value: str) -> None:
    ran = viz("attribute", "resnet20", "--method", "saliency", f"{option}={value}")
    assert ran.code == 2
    assert value in ran.error


def test_a_file_that_does_not_exist(viz: Viz) -> None:
    ran = viz("diagram", "nowhere.py:Net")
    assert ran.code == 2
    assert "nowhere.py" in ran.error


def test_a_file_that_does_not_import_names_its_line(viz: Viz, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import torch\n\nraise ValueError('not today')\n")
    ran = viz("diagram", "bad.py:Net")
    assert ran.code == 2
    assert "bad.py" in ran.error
    assert "3" in ran.error
    assert "not today" in ran.error


def test_a_file_that_exits_at_import(viz: Viz, tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(5)\n")
    ran = viz("diagram", "leaves.py:Net")
    assert ran.code == 2
    assert "leaves.py" in ran.error


def test_a_file_without_a_name_lists_what_it_holds(viz: Viz, nets: Path) -> None:
    ran = viz("diagram", "nets.py")
    assert ran.code == 2
    assert "Fine" in ran.error
    assert "NeedsDepth" in ran.error


def test_a_class_that_needs_arguments_says_which(viz: Viz, nets: Path) -> None:
    ran = viz("diagram", "nets.py:NeedsDepth")
    assert ran.code == 2
    assert "depth" in ran.error
    assert "--arg" in ran.error


def test_an_unknown_option_of_a_variant_lists_the_known(viz: Viz) -> None:
    ran = viz("diagram", "resnet20", "--arg", "activatoin=relu")
    assert ran.code == 2
    assert "activation" in ran.error


def test_a_wrong_input_shape_names_module_and_shapes(viz: Viz) -> None:
    ran = viz("diagram", "resnet18", "--input", "1x4x64x64")
    assert ran.code == 2
    assert "conv1" in ran.error
    assert "1×4×64×64" in ran.error


def test_a_model_that_raises_on_an_input_the_tool_chose_is_3(viz: Viz, nets: Path) -> None:
    ran = viz("diagram", "nets.py:Raises")
    assert ran.code == 3
    assert "lost" in ran.error


def test_the_same_on_an_input_the_user_gave_is_2(viz: Viz, nets: Path) -> None:
    assert viz("diagram", "nets.py:Raises", "--input", "1x3x32x32").code == 2


@pytest.mark.parametrize("text", ["", "axb", "1x0x3", "1x3x8x8:float99", "1x-3x2"])
def test_an_input_that_does_not_parse(viz: Viz, text: str) -> None:
    ran = viz("diagram", "resnet20", "--input", text)
    assert ran.code == 2
    assert "1x3x224x224" in ran.error or "dtype" in ran.error


@pytest.mark.parametrize("text", ["depth=1", "depth_factor", "depth_factor=x", "depth_factor=nan"])
def test_a_threshold_that_is_none(viz: Viz, text: str) -> None:
    ran = viz("gradflow", "resnet20", "--threshold", text)
    assert ran.code == 2
    assert f"--threshold {text}: " in ran.error


def test_a_model_whose_name_no_file_could_have(viz: Viz) -> None:
    ran = viz("gradflow", "x" * 5000)
    assert ran.code == 2
    assert "unknown model" in ran.error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_standard_output_on_a_full_disk() -> None:
    command = [sys.executable, "-m", "resnet_viz", "models"]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 2
    assert ran.stderr == "Error: cannot write: No space left on device; free some space\n"


def test_an_image_that_is_no_image(viz: Viz, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_text("meow")
    ran = viz("attribute", "resnet20", "--image", "cat.jpg")
    assert ran.code == 2
    assert "cat.jpg" in ran.error


def test_an_image_that_is_missing(viz: Viz) -> None:
    ran = viz("attribute", "resnet20", "--image", "dog.jpg")
    assert ran.code == 2
    assert "dog.jpg" in ran.error


def test_an_image_for_a_model_that_takes_none(viz: Viz, tmp_path: Path) -> None:
    (tmp_path / "mlp.py").write_text(
        "from torch import nn\ndef mlp():\n    return nn.Sequential(nn.Linear(4, 3))\n"
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "red.png")
    ran = viz("attribute", "mlp.py:mlp", "--image", "red.png")
    assert ran.code == 2
    assert "3 channels or 1" in ran.error


def test_an_unwritable_output_is_told_before_any_work(viz: Viz) -> None:
    ran = viz("report", "resnet50", "-o", "no/such/folder/out.html")
    assert ran.code == 2
    assert "no/such/folder" in ran.error
    assert "tracing" not in ran.err


def test_an_unknown_suffix_lists_the_known(viz: Viz) -> None:
    ran = viz("diagram", "resnet20", "-o", "net.docx")
    assert ran.code == 2
    for suffix in (".svg", ".html", ".dot", ".json", ".graphml", ".png"):
        assert suffix in ran.error


def test_weights_that_do_not_fit_name_the_first_keys(viz: Viz, tmp_path: Path) -> None:
    state = build("resnet20").state_dict()
    state["stranger.weight"] = state.pop("conv1.weight")
    save_file(state, tmp_path / "w.safetensors")
    ran = viz("diagram", "resnet20", "--weights", "w.safetensors")
    assert ran.code == 2
    assert "conv1.weight" in ran.error
    assert "stranger.weight" in ran.error


class Payload:
    """Anything that ``weights_only`` does not know."""


def test_a_pickle_that_weights_only_refuses(viz: Viz, tmp_path: Path) -> None:
    torch.save({"x": Payload()}, tmp_path / "w.pt")
    ran = viz("diagram", "resnet20", "--weights", "w.pt")
    assert ran.code == 2
    assert "w.pt" in ran.error
    assert "safetensors" in ran.error


def test_batch_norm_that_refuses_the_batch_says_what_to_do(viz: Viz, tmp_path: Path) -> None:
    (tmp_path / "bn.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))\n"
    )
    ran = viz("gradflow", "bn.py:net", "--batch-size", "1")
    assert ran.code == 2
    assert "--batch-size" in ran.error
    assert "--eval" in ran.error
    assert viz("gradflow", "bn.py:net", "--batch-size", "1", "--eval").code == 0


def test_an_unknown_device_says_what_is_here(viz: Viz) -> None:
    ran = viz("gradflow", "resnet20", "--device", "abacus")
    assert ran.code == 2
    assert "cpu" in ran.error


def test_an_unknown_method_lists_the_known(viz: Viz) -> None:
    ran = viz("attribute", "resnet20", "--method", "tea_leaves")
    assert ran.code == 2
    assert "saliency" in ran.error


def test_an_unknown_layer_is_told(viz: Viz) -> None:
    ran = viz("attribute", "resnet20", "--layer", "layer9")
    assert ran.code == 2
    assert "layer9" in ran.error


def test_a_class_the_model_does_not_have(viz: Viz) -> None:
    ran = viz("attribute", "resnet20", "--target", "10")
    assert ran.code == 2
    assert "10" in ran.error


def test_an_unknown_command_and_option(viz: Viz) -> None:
    assert viz("reprot", "resnet20").code == 2
    assert viz("report", "resnet20", "--colour").code == 2


def test_a_bug_shows_its_traceback_and_exits_70(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pattern: str) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("resnet_viz.sources.variants.list_variants", broken)
    with pytest.raises(SystemExit) as ended:
        run_and_exit(cli, ["models"])
    assert ended.value.code == 70
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_leaves_nothing_and_exits_130(viz: Viz, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("resnet_viz.reporting.formats.to_json.render_json", interrupted)
    ran = viz("diagram", "resnet20", "-o", "net.json")
    assert ran.code == 130
    assert not Path("net.json").exists()


def test_a_bad_image_is_said_before_the_long_work(viz: Viz) -> None:
    ran = viz("report", "resnet20", "--image", "dog.jpg")
    assert ran.code == 2
    assert "dog.jpg" in ran.error
    assert "tracing" in ran.err
    assert "measuring" not in ran.err


@pytest.mark.parametrize("group", [[], ["experiment"]])
def test_a_group_without_a_command_shows_its_help(viz: Viz, group: list[str]) -> None:
    ran = viz(*group)
    assert ran.code == 2
    assert ran.err.startswith("Usage: resnet-viz")
    assert "\nCommands:\n" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--toml"], "name it"), (["resnet50", "--toml", "--json"], "choose one")],
)
def test_models_does_not_guess_what_to_print(viz: Viz, arguments: list[str], said: str) -> None:
    ran = viz("models", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_a_net_too_large_for_memory_is_no_bug(viz: Viz) -> None:
    ran = viz("summary", "resnet20", "--arg", f"num_classes={10**12}")
    assert ran.code == 2
    assert "does not fit into memory" in ran.error
