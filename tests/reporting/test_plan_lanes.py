"""Nested concatenations, as a U-Net has them: which of them leads where must be seen."""

from __future__ import annotations

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.drawing.diagram import diagram
from tests.reporting import synthetic


def test_nested_concatenations_run_in_lanes_of_their_own() -> None:
    net = synthetic.Net("unet", (1, 8, 16, 16))
    outer = net.conv("down1", net.x, 8, 3)
    inner = net.conv("down2", outer, 8, 3)
    middle = net.conv("middle", inner, 8, 3)
    first = net.op("cat", "", middle, inner, shape=(1, 16, 16, 16))
    net.close(inner, first, "concat", [middle])
    upper = net.conv("up", first, 8, 3)
    last = net.op("cat", "", upper, outer, shape=(1, 16, 16, 16))
    net.close(outer, last, "concat", [inner, middle, first, upper])
    drawing = diagram(net.report(last), RenderOptions(collapse="none"))
    lanes = [edge[3] for plan in drawing["plans"] for edge in plan["edges"] if edge[3]]
    assert len(lanes) == 2
    assert lanes[0] != lanes[1]
