"""Rules for ops that compute: which axes they mix, and along which places stay apart."""

from __future__ import annotations

from resnet_viz.core.graph import Op
from resnet_viz.measuring.layers.axes import Axis, joined, plain, unknown, whole
from resnet_viz.measuring.layers.flows import (
    Flow,
    Links,
    Operands,
    Rule,
    dims_of,
    dropped,
    elementwise,
    first,
    resized,
    slots_of,
)


def on_map(keeps_channels: bool) -> Rule:
    """Convolutions and pools over rows and columns."""

    def rule(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
        given = first(op, operands)
        if given is None or len(shape) not in (3, 4) or len(given[1]) != len(shape):
            return Flow(unknown(shape))
        slot, axes = given
        *ahead, rows, columns = axes
        if any(a.spatial for a in axes):
            last = (resized(rows, shape[-2]), resized(columns, shape[-1]))
        else:
            # What a convolution runs over are rows and columns, whatever came before.
            last = (whole("h", shape[-2]), whole("w", shape[-1]))
        found = [*ahead, *last]
        links = {(slot, 0): 0} if len(shape) == 4 else {}
        if keeps_channels:
            links[slot, len(shape) - 3] = len(shape) - 3
        else:
            found[-3] = plain(shape[-3])
        return Flow(tuple(found), links)

    return rule


def projected(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``linear``: only the last axis is mixed."""
    given = first(op, operands)
    if given is None:
        return Flow(unknown(shape))
    slot, axes = given
    links = {(slot, j): j for j in range(len(axes) - 1)}
    return Flow((*axes[:-1], plain(shape[-1])), links)


def normalised(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """Norms over the last axes."""
    wanted = op.argument(1, "normalized_shape")
    count = len(wanted) if isinstance(wanted, tuple) else 1
    return elementwise(operands, shape, range(len(shape) - count, len(shape)))


def mixing_along(index: int) -> Rule:
    """Ops that keep the shape and mix along one axis."""

    def rule(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
        dims = dims_of(op.argument(index, "dim", -1), len(shape))
        return elementwise(operands, shape, range(len(shape)) if dims is None else dims)

    return rule


def multiplied(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``matmul``: rows of the first stay apart, and columns of the second."""
    both = slots_of(op.args[:2] + tuple(v for _, v in op.kwargs), operands)
    if len(both) == 1 and first(op, operands) is not None:  # times a parameter
        return projected(op, operands, shape)
    if len(both) != 2 or min(len(a) for _, a in both) < 2:
        return Flow(unknown(shape))
    (a, left), (b, right) = both
    ahead = len(shape) - 2
    batch = elementwise({a: left[:-2], b: right[:-2]}, shape[:ahead])
    links: Links = {**batch.links, (a, len(left) - 2): ahead, (b, len(right) - 1): ahead + 1}
    return Flow((*batch.axes, left[-2], right[-1]), links)


def summed_by_letters(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``einsum``: letters of the output stay apart."""
    equation = op.args[0] if op.args else None
    given = slots_of(op.args[1:], operands)
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return Flow(unknown(shape))
    inputs, _, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(given) or len(output) != len(shape):
        return Flow(unknown(shape))
    found: list[Axis] = []
    links: Links = {}
    for i, letter in enumerate(output):
        places = [
            (slot, term.index(letter), axes)
            for term, (slot, axes) in zip(terms, given, strict=True)
            if letter in term and len(term) == len(axes)
        ]
        found.append(joined([axes[j] for _, j, axes in places], shape[i]))
        links |= {(slot, j): i for slot, j, _ in places}
    return Flow(tuple(found), links)


def attended(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """Attention: queries stay apart, keys are mixed."""
    given = slots_of(
        tuple(op.argument(i, name) for i, name in enumerate(("query", "key", "value"))), operands
    )
    if len(given) != 3:
        return Flow(unknown(shape))
    (q, query), (k, key), (v, value) = given
    ahead = len(shape) - 2
    batch = elementwise({q: query[:-2], k: key[:-2], v: value[:-2]}, shape[:ahead])
    links: Links = {**batch.links, (q, ahead): ahead, (v, len(value) - 1): ahead + 1}
    return Flow((*batch.axes, query[-2], value[-1]), links)


def reduced(index: int) -> Rule:
    """Sums, means and extremes over some axes."""

    def rule(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
        given = first(op, operands)
        dims = op.argument(index, "dim")
        if given is None or dims is None or not isinstance(dims, int | tuple):
            return Flow(unknown(shape))
        gone = dims_of(dims, len(given[1]))
        if gone is None:
            return Flow(unknown(shape))
        return dropped(*given, gone, keep=len(shape) == len(given[1]))

    return rule
