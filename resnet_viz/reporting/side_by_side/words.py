"""What stands between two parts: in which way they differ, each line with its sign.

Colour is never the only difference: a line begins with + (only in B), − (only in A),
≠ (changed) or = (equal).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from resnet_viz.core import units
from resnet_viz.core.comparison import Comparison, Difference
from resnet_viz.core.message import Message, join, say, say_n
from resnet_viz.core.terms import word
from resnet_viz.reporting.side_by_side.rows import Row, Status, status_of
from resnet_viz.reporting.side_by_side.sides import Side

LINES = 4
"""Lines of a row at most."""

SIGNS: dict[Status, str] = {
    "equal": "=", "changed": "≠", "added": "+", "removed": "−", "mixed": "≠",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that differs: its sign, its words, and whether it is the amount that follows."""

    sign: str
    text: str
    quiet: bool = False


def lines_of(row: Row, value: Comparison, a: Side, b: Side) -> tuple[Line, ...]:
    """What is said of a row, what matters most first.

    Args:
        row: Which pairs it holds.
        value: What is compared.
        a: The first model.
        b: The second.
    """
    n = len(row.pairs)
    if row.status == "equal":
        return (Line("=", say_n("equal", "{n} equal parts", n)),)
    amounts = _amounts(row, value, a, b)
    if row.status in ("added", "removed"):
        name = (b if row.status == "added" else a).name
        sign = SIGNS[row.status]
        text = say("only in {model}", model=name)
        if n > 1:
            text = say_n("{n} part only in {model}", "{n} parts only in {model}", n, model=name)
        return (Line(sign, text), *amounts)
    of_first = [d for d in value.differences if d.pair == row.pairs[0]] if row.alike else []
    told = _changed(of_first) if row.alike else _summary(row, value)
    if not told and not value.differences:
        told = [Line("≠", text) for text in value.alignment.pairs[row.pairs[0]].changes]
    return (*told[: LINES - len(amounts)], *amounts)


def _amounts(row: Row, value: Comparison, a: Side, b: Side) -> tuple[Line, ...]:
    """How many parameters and MACs B has more or less, over all of the row."""
    pairs = [value.alignment.pairs[k] for k in row.pairs]
    params = sum(b.params(p.b_ops) - a.params(p.a_ops) for p in pairs)
    macs = sum(b.macs(p.b_ops) - a.macs(p.a_ops) for p in pairs)
    told = [say("{n} parameters", n=signed(params))] if params else []
    told += [say("{n} MACs", n=signed(macs))] if macs else []
    return (Line("", join(" · ", told), quiet=True),) if told else ()


def signed(number: float, write: Callable[[float], str] = units.si) -> str:
    """``+4.10 M``, ``−3``, ``±0``: with a sign that is as wide as a digit."""
    if number == 0:
        return "±0"
    return f"{'+' if number > 0 else '−'}{write(abs(number))}"


def _changed(found: Sequence[Difference]) -> list[Line]:
    """The lines of one pair."""
    of_part = [d for d in found if d.what not in ("op", "params", "macs")]
    lines: list[Line] = []
    layers = False
    for d in of_part:
        if d.what == "layers":
            layers = True
            lines += _layers(d.a, d.b)
        elif d.what == "channels" and layers:
            continue
        elif d.what == "arguments":
            lines.append(Line("≠", join(": ", (_tail(d.path_b), _arrow(d.a, d.b)))))
        elif d.what == "ops":
            # Layers are told already.
            gone, new = (_kinds(text, layers) for text in (d.a, d.b))
            lines += [Line("−", gone)] if gone else []
            lines += [Line("+", new)] if new else []
        else:
            lines.append(_plain(d))
    ops = [d for d in found if d.what == "op"]
    if not lines and ops:
        lines.append(_op(next((d for d in ops if d.delta), ops[0])))
    return lines


def _op(d: Difference) -> Line:
    """One op: its name, and what is another: its kind, its weight or its output."""
    name = _tail(d.path_b or d.path_a)
    if d.kind != "changed":
        return Line("+" if d.kind == "added" else "−", name)
    ours, theirs = (_pieces(text) for text in (d.a, d.b))
    for mine, other in zip(ours, theirs, strict=True):
        if mine != other:
            return Line("≠", join(": ", (name, _arrow(mine, other))))
    return Line("≠", name)


def _pieces(told: str) -> tuple[str, str, str]:
    """Kind, weight and output of an op as ``differences`` tells it."""
    before, _, output = told.partition(" → ")
    kind, _, weight = before.partition(" ")
    return kind, weight, output


def _kinds(text: str, layers: bool) -> str:
    kinds = (kind for kind in text.split(", ") if kind)
    return ", ".join(k for k in kinds if not (layers and ("conv" in k or "linear" in k)))


def _plain(d: Difference) -> Line:
    if d.what == "skip":
        kinds = [say("{kind} skip", kind=word(kind)) for kind in (d.a, d.b) if kind]
        sign = "≠" if d.a and d.b else "+" if d.b else "−"
        return Line(sign, join(" → ", kinds))
    if d.what == "channels":
        return Line("≠", say("{a} → {b} channels", a=d.a, b=d.b))
    if d.what == "wiring":
        return Line("≠", say("wired otherwise"))
    return Line("≠", _arrow(word(d.a), word(d.b)))


def _arrow(a: str, b: str) -> Message:
    return join(" → ", (text for text in (a, b) if text))


def _layers(a: str, b: str) -> list[Line]:
    """Layers that differ, one below the other; where there are more, those."""
    ours, theirs = ([_layer(text) for text in side.split(", ")] for side in (a, b))
    if len(ours) == len(theirs):
        pairs = dict.fromkeys(p for p in zip(ours, theirs, strict=True) if p[0] != p[1])
        return [Line("≠", _arrow(*pair)) for pair in pairs]
    gone, new = (", ".join((Counter(x) - Counter(y)).elements())
                 for x, y in ((ours, theirs), (theirs, ours)))  # fmt: skip
    if gone and new:
        return [Line("≠", _arrow(gone, new))]
    return [Line("−", gone) if gone else Line("+", new)]


def _layer(text: str) -> str:
    kind, _, rest = text.partition(" ")
    return rest if rest and kind.startswith("conv") else text


def _tail(path: str) -> str:
    """The end of an op's module; of one that has but a number, what it is the number of, too."""
    parts = path.partition("/")[0].split(".")
    return ".".join(parts[-2:] if parts[-1].isdecimal() else parts[-1:])


def _summary(row: Row, value: Comparison) -> list[Line]:
    """Of many pairs what differs in how many, the most frequent first."""
    pairs = set(row.pairs)
    statuses = Counter(status_of(value.alignment.pairs[k]) for k in row.pairs)
    found = {(d.what, d.pair) for d in value.differences if d.pair in pairs}
    counts = Counter(what for what, _ in sorted(found))
    if len(statuses) > 1:
        return [Line(SIGNS[status], _counted(status, n)) for status, n in statuses.most_common()]
    several = say_n("{n} part changed", "{n} parts changed", len(pairs))
    told = [say("{what} in {n}", what=WHAT[what], n=n) for what, n in counts.most_common()
            if what not in ("op", "params", "macs")]  # fmt: skip
    return [Line("≠", several), *([Line("", join(", ", told[:3]), quiet=True)] if told else [])]


def _counted(status: Status, n: int) -> Message:
    if status == "equal":
        return say("{n} equal", n=n)
    if status == "changed":
        return say("{n} changed", n=n)
    return say("{n} only in B", n=n) if status == "added" else say("{n} only in A", n=n)


WHAT: dict[str, Message] = {
    "skip": say("skip"), "block": say("kind of block"), "layers": say("layers"),
    "channels": say("channels"), "resolution": say("resolution"), "ops": say("operations"),
    "arguments": say("arguments"), "wiring": say("wiring"), "params": say("parameters"),
    "macs": say("MACs"), "part": say("part"), "op": say("operation"),
}  # fmt: skip
"""Names of what differs."""


def counted(statuses: Iterable[Status]) -> Message:
    """``7 equal, 9 changed, 17 only in B``; nothing that there is none of."""
    counts = Counter(statuses)
    return join(", ", (_counted(status, n) for status in ("equal", "changed", "removed", "added")
                       if (n := counts[status])))  # fmt: skip
