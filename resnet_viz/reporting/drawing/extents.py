"""How large a drawn op is: as high as its feature map, as wide as its channels.

Space shrinks and channels grow along a network, and the drawing shows it: heights follow
the resolution on a log scale, widths the square root of the channels. What has no feature
map (a language model, a classifier's head) has one size for all.
"""

from __future__ import annotations

import math

from resnet_viz.core.graph import ModelGraph, Op, OpId
from resnet_viz.core.report import Report

PLAIN = 28.0
"""Height of an op without resolution."""

_LOW, _HIGH = 26.0, 44.0  # heights at the lowest and at the highest resolution
_CHIP_LOW, _CHIP_HIGH = 12.0, 25.0  # half the height of the widest chip of a closed block
_LEAST, _MOST = 104.0, 176.0  # widths for hardly any and for the most channels
_STRETCH = 0.4  # by so much a chip of the most channels is longer
_EVEN = 1.2  # a network whose sides differ by less has one resolution
_SPATIAL = ("conv", "max_pool", "avg_pool", "adaptive_", "interpolate", "upsample", "fractional_")
_TURNED = frozenset(("permute", "transpose", "movedim", "swapaxes", "mT", "T"))


class Extents:
    """Sizes of the ops of one report."""

    def __init__(self, report: Report) -> None:
        self._maps = feature_maps(report.graph)
        sides = sorted(side for side, _ in self._maps.values() if side > 1)
        self._low, self._high = (sides[0], sides[-1]) if sides else (1.0, 1.0)
        joins = [b.skip.join for b in report.structure.blocks] or [*map(OpId, self._maps)]
        wide = [self._maps[op][1] for op in joins if op in self._maps]
        self._most = max(wide, default=0)
        self._least = min(wide, default=0)

    def height(self, op: str) -> float:
        """Height of an op's box, in pixels."""
        place = self._place(op)
        return PLAIN if place is None else round(_LOW + (_HIGH - _LOW) * place)

    def half(self, op: str) -> float:
        """Half the height of the widest chip in the glyph of a block that ends with this op."""
        place = self._place(op)
        return 13.0 if place is None else round(_CHIP_LOW + (_CHIP_HIGH - _CHIP_LOW) * place, 1)

    def width(self, op: str) -> float:
        """Least width of an op's box, in pixels; 0 where it has no feature map."""
        share = self._share(op)
        return 0.0 if share is None else round(_LEAST + (_MOST - _LEAST) * share)

    def stretch(self, op: str) -> float:
        """By what the chips are longer in a block that ends with this op; at least 1."""
        share = self._share(op)
        if share is None or self._least >= self._most:
            return 1.0
        least = math.sqrt(self._least / self._most)
        return 1 + _STRETCH * max(0.0, share - least) / (1 - least)

    def _place(self, op: str) -> float | None:
        """0 at the lowest resolution, 1 at the highest."""
        found = self._maps.get(op)
        if found is None or self._high < self._low * _EVEN:
            return None
        side = min(self._high, max(self._low, found[0]))
        return math.log(side / self._low) / math.log(self._high / self._low)

    def _share(self, op: str) -> float | None:
        found = self._maps.get(op)
        if found is None or not self._most:
            return None
        return min(1.0, math.sqrt(found[1] / self._most))


def feature_maps(graph: ModelGraph) -> dict[str, tuple[float, int]]:
    """Per op whose output is a feature map (batch, channels, then space) its side and channels.

    A side is the geometric mean over the axes of space. Feature maps begin at a convolution
    or a pooling (or at the input of one), and end where axes are turned or their number changes.
    """
    found: dict[str, tuple[float, int]] = {}
    for op in graph.ops:
        before = [graph[edge.src] for edge in graph.edges_in(op.id)]
        filters = op.kind.startswith(_SPATIAL) and len(op.shape) >= 3
        if filters:
            for source in before[:1]:
                if source.kind == "input" and len(source.shape) == len(op.shape):
                    found.setdefault(str(source.id), _map_of(source))
        same = any(str(b.id) in found and len(b.shape) == len(op.shape) for b in before)
        if filters or (same and op.kind not in _TURNED):
            found[str(op.id)] = _map_of(op)
    return found


def _map_of(op: Op) -> tuple[float, int]:
    space = op.shape[2:]
    return math.prod(max(1, s) for s in space) ** (1 / len(space)), op.shape[1]
