"""What each way of a skip computes, as formulas: x, F(x) and H(x) = F(x) + x.

He et al. 2015, equations 1 (identity) and 2 (projection, W_s x); Srivastava et al. 2015,
equation 3 (Highway); Huang et al. 2017, equation 2 (concatenation). A formula is only
written where the graph computes it: a coupled gate T and 1 - T is looked for, op by op.
"""

from __future__ import annotations

from dataclasses import dataclass

from resnet_viz.core.graph import ModelGraph, Op, OpId, Ref
from resnet_viz.core.structure import Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """The texts of one skip.

    Attributes:
        shortcut: What comes over the shortcut: ``x``, ``Wₛx``, ``S(x)``.
        branch: What comes over the branch: ``F(x)``.
        join: What leaves the join: ``H(x) = F(x) + x``.
    """

    shortcut: str
    branch: str
    join: str


def formula_of(graph: ModelGraph, skip: Skip) -> Formula:
    """The formulas of a skip, x being what its fork holds.

    An identity that subsamples or pads on its way is ``S(x)``; a scaled one ``αx`` by a
    constant or a parameter and ``g ⊙ x`` by a gate, of which Highway's ``x ⊙ (1 − T(x))``
    is written out where the very same gate weighs the branch.
    """
    if skip.kind == "concat":
        inside = "[x, F(x)]" if _fork_first(graph, skip) else "[F(x), x]"
        return Formula(shortcut="x", branch="F(x)", join=f"H(x) = {inside}")
    if skip.kind == "gate":
        return Formula(shortcut="x", branch="F(x)", join="H(x) = F(x) ⊙ x")
    branch, shortcut = "F(x)", "x"
    if skip.kind == "projection":
        shortcut = "Wₛx"
    elif skip.kind == "scaled":
        branch, shortcut = _weighed(graph, skip)
    elif skip.shortcut and not all(_keeps(graph[op]) for op in skip.shortcut):
        shortcut = "S(x)"
    return Formula(shortcut=shortcut, branch=branch, join=f"H(x) = {branch} + {shortcut}")


def _keeps(op: Op) -> bool:
    """Whether it hands the very values on, in another shape or after dropout."""
    return op.kind in ("dropout", "identity", "contiguous", "clone", "reshape", "view", "to")


def _fork_first(graph: ModelGraph, skip: Skip) -> bool:
    fed = graph.edges_in(skip.join)
    branch = set(skip.branch)
    return not fed or fed[0].src not in branch


def _weighed(graph: ModelGraph, skip: Skip) -> tuple[str, str]:
    """The branch and the shortcut where the shortcut is multiplied."""
    products = [op for op in skip.shortcut if graph[op].kind == "mul"]
    fed = {op: [edge.src for edge in graph.edges_in(op)] for op in products}
    gated = [op for op in products if len(set(fed[op])) > 1]
    if not gated:
        return "F(x)", "αx"
    ends = [edge.src for edge in graph.edges_in(skip.join)]
    weighed = [op for op in ends if op in skip.branch and graph[op].kind == "mul"]
    if len(weighed) == 1 and len(gated) == 1 and skip.fork in fed[gated[0]] and gated[0] in ends:
        (mine,) = {*fed[gated[0]]} - {skip.fork} or {skip.fork}
        theirs = {edge.src for edge in graph.edges_in(weighed[0])}
        if _complement(graph, mine) in theirs:
            return "F(x) ⊙ T(x)", "x ⊙ (1 − T(x))"
        if any(_complement(graph, other) == mine for other in theirs):
            return "F(x) ⊙ (1 − T(x))", "x ⊙ T(x)"
    return "F(x)", "g ⊙ x"


def _complement(graph: ModelGraph, key: OpId) -> OpId | None:
    """The op T of which this one computes ``1 - T``."""
    op = graph[key]
    if op.kind not in ("sub", "rsub") or not graph.edges_in(key):
        return None
    backward = op.kind == "rsub" or "rsub" in op.target
    first, second = (*op.args[:2], None, None)[:2]
    if backward:
        first, second = second, first
    if not (isinstance(second, Ref) and second.kind == "in") or isinstance(first, Ref | bool):
        return None
    return graph.edges_in(key)[0].src if first in (1, 1.0) else None
