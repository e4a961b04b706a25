"""Each command does its job and says what it wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest
import torch
from PIL import Image

import resnet_viz as rv
from resnet_viz.sources.variants import VARIANTS
from tests.cli.conftest import Ran

Viz = Callable[..., Ran]
SMALL = ("resnet20", "--n-steps", "4", "--batch-size", "2")


def test_models_lists_every_variant_with_its_costs(viz: Viz) -> None:
    ran = viz("models")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == list(VARIANTS)


def test_the_closed_forms_equal_traced_graphs(viz: Viz) -> None:
    rows = {row["name"]: row for row in json.loads(viz("models", "*[tn]20", "--json").out)}
    assert set(rows) == {"resnet20", "plain20"}
    for name, row in rows.items():
        with torch.device("meta"):
            graph = rv.trace(rv.build(name).eval())
        assert (graph.total_params, graph.total_macs) == (row["params"], row["macs"])


def test_a_variant_as_toml_is_a_model_to_begin_with(viz: Viz) -> None:
    ran = viz("models", "resnet20", "--toml")
    assert ran.code == 0
    Path("net.toml").write_text(ran.out.replace("num_classes = 10", "num_classes = 7"))
    assert "269,527" in viz("summary", "net.toml").out
    assert viz("models", "resnet", "--toml").code == 2


def test_summary_shows_totals_and_depth_limits_it(viz: Viz) -> None:
    deep, shallow = viz("summary", "resnet20").out, viz("summary", "resnet20", "-d", "1").out
    assert "269,722" in shallow
    assert "conv2 Conv2d" in deep
    assert "conv2 Conv2d" not in shallow


def test_summary_as_json_reads_back(viz: Viz) -> None:
    report = rv.from_json(viz("summary", "resnet20", "--json").out)
    assert len(report.structure.skips) == 9


@pytest.mark.parametrize("suffix", ["svg", "png", "html", "dot", "mmd", "json", "graphml", "txt"])
def test_diagram_writes_each_format_and_says_so(viz: Viz, suffix: str) -> None:
    ran = viz("diagram", "resnet20", "-o", f"net.{suffix}")
    assert ran.code == 0, ran.err
    assert re.search(rf"Wrote net\.{suffix} \(\d.*B, \d+\.\d s\)", ran.err)
    assert Path(f"net.{suffix}").stat().st_size > 1000


def test_diagram_without_o_is_an_svg_named_after_the_model(viz: Viz) -> None:
    assert viz("diagram", "resnet20").code == 0
    assert Path("resnet20.svg").read_bytes().startswith(b"<svg")


def test_several_outputs_come_from_one_run(viz: Viz) -> None:
    ran = viz("diagram", "resnet20", "-o", "a.dot", "-o", "b.json", "-q")
    assert ran.code == 0
    assert ran.err == ""
    assert Path("a.dot").is_file()
    assert Path("b.json").is_file()


def test_standard_output_is_clean(viz: Viz) -> None:
    ran = viz("diagram", "resnet20", "-o", "-", "--format", "json")
    assert rv.from_json(ran.out).graph.name == "resnet20"


def test_report_writes_one_offline_page_with_everything(viz: Viz) -> None:
    ran = viz("report", *SMALL)
    assert ran.code == 0, ran.err
    page = Path("resnet20.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org/", "")
    for word in ("gradient-flow", "attributions", "random", "default-src"):
        assert word in page


def test_the_report_graph_carries_skips_shares_and_gradients(viz: Viz) -> None:
    assert viz("report", *SMALL, "-o", "net.graphml").code == 0
    graph = nx.read_graphml("net.graphml")
    marked = {data["skip"] for _, _, data in graph.edges(data=True) if data["skip"]}
    assert len(marked) == 9
    assert any("share" in data for _, _, data in graph.edges(data=True))
    assert all("None" not in map(str, data.values()) for _, data in graph.nodes(data=True))
    assert any("grad_l2" in data for _, data in graph.nodes(data=True))
    assert any(data["block_kind"] == "basic" for _, data in graph.nodes(data=True))


def test_gradflow_prints_without_o_and_names_its_conditions(viz: Viz) -> None:
    ran = viz("gradflow", "resnet20", "--batch-size", "2")
    assert ran.code == 0
    for words in ("cross entropy", "random labels", "train mode", "batch 2"):
        assert words in " ".join(ran.out.split())


def test_attribute_says_that_random_weights_are_random(viz: Viz) -> None:
    ran = viz("attribute", "resnet20", "--n-steps", "4")
    assert ran.code == 0
    assert "random" in ran.out


def test_the_one_section_asked_for_must_apply(viz: Viz) -> None:
    file = Path("counter.py")
    file.write_text(
        "from torch import nn\n"
        "class Counter(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return (x > 0).sum()\n"
    )
    asked = ("counter.py:Counter", "--input", "1x4")
    for command in ("gradflow", "attribute"):
        ran = viz(command, *asked)
        assert ran.code == 2
        assert ran.out == ""
    assert viz("report", *asked, "-o", "all.html").code == 0


def test_an_image_of_ones_own(viz: Viz, tmp_path: Path) -> None:
    Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 20).save(tmp_path / "own.png")
    ran = viz(
        "attribute", "resnet20", "--image", "own.png", "--n-steps", "4", "--mean", "0.5",
        "--std", "0.5", "-o", "own.json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found = rv.from_json(Path("own.json").read_text()).attributions
    assert [picture.name for picture in found.pictures] == ["own.png"]


def test_doctor_finds_what_is_needed(viz: Viz) -> None:
    ran = viz("doctor")
    assert ran.code == 0
    assert "torch" in ran.out
    assert "✗" not in ran.out


def test_the_same_seed_gives_the_same_measurements(viz: Viz) -> None:
    def flow(seed: str) -> object:
        ran = viz("gradflow", "resnet20", "--batch-size", "2", "--seed", seed, "--json")
        return rv.from_json(ran.out).gradient_flow

    assert flow("1") == flow("1")
    assert flow("1") != flow("2")


def test_summary_says_which_input_was_traced_and_how(viz: Viz) -> None:
    found, given = viz("summary", "resnet20").out, viz("summary", "resnet20", "--input", "2x3x8x8")
    assert "input 1×3×32×32 float32: the size resnet20 was made for" in found
    assert "meta run: the forward needs no values" in found
    assert "  input 2×3×8×8 float32" in given.out
    assert "was made for" not in given.out
