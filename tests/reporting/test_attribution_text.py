"""Attributions in a terminal: verdicts, agreement, relevance and depths in 80 columns."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from resnet_viz.core.report import Report
from resnet_viz.reporting import render
from resnet_viz.reporting.attributions.relevance import relevance_words
from tests.reporting import attributed, synthetic


@pytest.fixture(scope="module")
def text() -> str:
    report = attributed.everything(synthetic.resnet18(), samples=4)
    assert report.attributions is not None
    only = replace(report, measurements=(report.attributions,), findings=())
    return render(only, "txt").decode()


def test_everything_is_told_within_80_columns(text: str) -> None:
    told = text[text.index("\nattributions") : text.index("\nprovenance")]
    assert max(map(cell_len, told.splitlines())) <= 80
    for head in ("attributions", "relevance of blocks", "what each depth sees"):
        assert f"\n{head}\n" in told


def test_each_method_has_its_verdict_and_figures(text: str) -> None:
    flat = " ".join(text.split())
    assert flat.count(", class 281 (tabby), score 12.3, probability 81.0 %") == 2
    assert "completeness delta 0.011 (0.9 %); infidelity 0.12" in flat
    assert "FORCED, do not believe this: Residual adds are not handled" in flat
    assert flat.count("FORCED") == 4
    assert "-0.11, 31.0 %: integrated gradients and layer Grad-CAM at layer4" in flat


def test_what_a_method_means_is_said_once_however_many_maps_it_made() -> None:
    found = attributed.everything(synthetic.resnet18()).attributions
    assert found is not None
    says = "Where a small change moves the score most."
    maps = tuple(
        replace(m, says=says, verdict=f"{says} {m.verdict}") if m.name == "guided_backprop" else m
        for m in found.maps
    )
    assert sum(bool(m.says) for m in maps) == 4
    told = replace(found, maps=maps)
    for name in ("txt", "html"):
        assert render(told, name).decode().count(says) == 1
    svg = render(told, "svg").decode()
    assert svg[svg.index("</desc>") :].count("here a small change moves") == 1


def test_agreement_and_depths_are_told_once_for_all_inputs(text: str) -> None:
    assert text.count("agreement: ") == 1
    assert text.count("\nwhat each depth sees\n") == 1
    assert len(re.findall(r"^ +layer4 ", text[text.index("what each depth") :], re.M)) == 1


def test_relevance_is_a_row_per_block(text: str) -> None:
    part = text[text.index("relevance of blocks") : text.index("what each depth sees")]
    rows = re.findall(r"^ +(layer\d\.\d) +(\S+ ± 0\.2) +(\S+ ± 0\.2) +(\S+ ± 0\.2)", part, re.M)
    assert [name for name, *_ in rows] == [f"layer{s}.{b}" for s in range(1, 5) for b in range(2)]
    assert {whole for *_, whole in rows} == {"+4 ± 0.2"}
    numbers = [[float(c.split()[0].replace("−", "-")) for c in cells] for _, *cells in rows]
    for shortcut, branch, whole in numbers:
        assert shortcut + branch == pytest.approx(whole, abs=0.02)


def test_depths_are_a_row_per_stage(text: str) -> None:
    rows = re.findall(r"^ +(stem|layer\d) +\S+ +(whole input|\d+×\d+) +([\d.]+)", text, re.M)
    assert [seen for _, seen, _ in rows[:5]] == [
        "7×7", "31×31", "55×55", "79×79", "whole input",
    ]  # fmt: skip


def test_names_cannot_drive_a_terminal() -> None:
    found = attributed.tokens()
    evil = replace(found.maps[0], target="\x1b[2J", forced="\x07bell", verdict="\x1b]0;x")
    text = render(replace(found, maps=(evil,)), "txt").decode()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\\x1b[2J" in text


def test_attributions_alone_are_told_without_a_report(text: str) -> None:
    report: Report = attributed.everything(synthetic.resnet18())
    alone = render(report.attributions, "txt").decode()  # type: ignore[arg-type]
    assert alone.startswith("attributions: 16 maps of 2 inputs and 4 targets")
    assert "layer1.0/add#0" in alone  # no report names its block
    assert max(map(cell_len, alone.splitlines()[1:])) <= 80


def test_sums_of_relevance_that_miss_say_so() -> None:
    relevance = attributed.relevance(synthetic.resnet18())
    for off in (1.04, 1.2):
        ops = tuple(
            replace(r, amount=replace(r.amount, signed=relevance.difference * off), cut=True)
            for r in relevance.ops
        )
        said = "miss F(x) − F(x′) by up to 20.0 %" in relevance_words(replace(relevance, ops=ops))
        assert said is (off == 1.2)
