"""Figures: whatever the numbers are, valid marks inside the panel and labels apart."""

from __future__ import annotations

import math
import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_viz.reporting.experiments.arranging import apart, spread
from resnet_viz.reporting.experiments.figure import (
    Axis,
    Band,
    Figure,
    Hue,
    Panel,
    Rule,
    Series,
)
from resnet_viz.reporting.experiments.plot import Drawing, describe, draw
from resnet_viz.reporting.experiments.scales import Scale, number, scale_for

ANY = st.floats(allow_nan=True, allow_infinity=True)
USUAL = st.floats(-1e4, 1e4)
SETTINGS = settings(max_examples=40, deadline=None)


@st.composite
def series(draw: st.DrawFn) -> Series:
    ys = draw(st.lists(ANY | USUAL, max_size=8))
    hues: tuple[Hue, ...] = ("plain", "residual", "theory", "muted")
    return Series(
        name=draw(st.text(max_size=8)),
        hue=draw(st.sampled_from(hues)),
        points=tuple((float(i), y) for i, y in enumerate(ys)),
        spread=tuple((float(i), y, y) for i, y in enumerate(ys)),
        line=draw(st.booleans()),
        dots=draw(st.booleans()),
        stems=draw(st.none() | ANY),
        dashed=draw(st.booleans()),
        label=draw(st.sampled_from(["", "plain-56 test", "residual-20 train"])),
    )


@st.composite
def figures(draw: st.DrawFn) -> Figure:
    log_x, log_y = draw(st.booleans()), draw(st.booleans())
    panels = draw(
        st.lists(
            st.builds(
                Panel,
                title=st.sampled_from(
                    ["", "Plain nets", "a title of many words that must wrap " * 3]
                ),
                x=st.just(Axis(label="epoch", log=log_x)),
                y=st.just(Axis(label="error, %", log=log_y)),
                series=st.lists(series(), max_size=4).map(tuple),
                rules=st.lists(
                    st.builds(
                        Rule,
                        at=ANY | USUAL | st.floats(0, 8),
                        label=st.sampled_from(["", "chance", "rate ÷ 10"]),
                        across=st.sampled_from(["level", "upright"]),
                    ),
                    max_size=3,
                ).map(tuple),
                bands=st.just((Band(low=0.5, high=2.5, name="stage 2"),)),
            ),
            min_size=1,
            max_size=4,
        )
    )
    return Figure(
        key="f", title="T", caption="C", panels=tuple(panels),
        columns=draw(st.integers(1, 3)),
        narrow=draw(st.integers(1, 2)), shared=draw(st.sampled_from(["all", "rows", "none"])),
    )  # fmt: skip


def parsed(drawing: Drawing) -> ElementTree.Element:
    text = "\n".join(drawing.lines)
    assert "nan" not in re.sub(r"<title>.*?</title>|<text.*?</text>", "", text, flags=re.S)
    clean = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
    return ElementTree.fromstring(f"<svg>{clean}</svg>")


@SETTINGS
@given(figures(), st.sampled_from([(1080.0, False), (348.0, True)]))
def test_any_numbers_give_marks_inside_their_panels(
    figure: Figure, size: tuple[float, bool]
) -> None:
    width, narrow = size
    drawing = draw(figure, width, narrow=narrow)
    root = parsed(drawing)
    plotted = [g for g in root.iter("g") if g.get("class") == "plotted"]
    assert len(plotted) == len(figure.panels) == len(drawing.frames)
    for group, frame in zip(plotted, drawing.frames, strict=True):
        for x, y in places(group):
            assert frame.left - 5 <= x <= frame.right + 5
            assert frame.top - 5 <= y <= frame.bottom + 5


def places(group: ElementTree.Element) -> list[tuple[float, float]]:
    """Every point of every path and circle, relative commands followed."""
    found = []
    for e in group.iter():
        if e.tag == "circle":
            found.append((float(e.attrib["cx"]), float(e.attrib["cy"])))
        x = y = 0.0
        for command, rest in re.findall(r"([A-Za-z])([^A-Za-z]*)", e.get("d", "")):
            numbers = [float(v) for v in re.findall(r"-?[\d.]+(?:e[-+]?\d+)?", rest)]
            if command in "ML":
                pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
                found += pairs
                x, y = pairs[-1]
            elif command in "ml":
                x, y = x + numbers[0], y + numbers[1]
                found.append((x, y))
            elif command in "HhVv":
                step = numbers[0]
                x = {"H": step, "h": x + step}.get(command, x)
                y = {"V": step, "v": y + step}.get(command, y)
                found.append((x, y))
            assert command in "MLmlHhVvZ"
    return found


@SETTINGS
@given(figures(), st.sampled_from([(1080.0, False), (348.0, True)]))
def test_no_two_texts_touch_and_all_are_on_the_paper(
    figure: Figure, size: tuple[float, bool]
) -> None:
    width, narrow = size
    drawing = draw(figure, width, narrow=narrow)
    for a in drawing.texts:
        assert -0.5 <= a.left <= a.right <= width + 0.5, a
        assert -2 <= a.top <= a.bottom <= drawing.height + 2, a
    for a, b in combinations([t for t in drawing.texts if t.text], 2):
        beside = a.right <= b.left + 0.01 or b.right <= a.left + 0.01
        above = a.bottom <= b.top + 0.01 or b.bottom <= a.top + 0.01
        assert beside or above, (a, b)


def one(*ys: float, log: bool = False) -> ElementTree.Element:
    s = Series(name="s", hue="plain", points=tuple((float(i), y) for i, y in enumerate(ys)))
    panel = Panel(title="", x=Axis(label="x"), y=Axis(label="y", log=log), series=(s,))
    return parsed(draw(Figure(key="f", title="", caption="", panels=(panel,)), 500))


def offs(root: ElementTree.Element) -> list[str]:
    plotted = next(g for g in root.iter("g") if g.get("class") == "plotted")
    return [e.attrib["class"] for e in plotted.iter() if "off" in e.get("class", "").split()]


def test_what_is_no_number_has_a_mark_and_an_entry_in_the_legend() -> None:
    root = one(1.0, math.inf, 2.0, math.nan, 3.0, 4.0)
    assert sorted(offs(root)) == ["off", "off cross"]
    words = [e.text for e in root.iter("text")]
    assert "not a number" in words
    assert "beyond the axis, infinity included" in words
    (curve,) = [e for e in root.iter("path") if e.get("class") == "curve" and "L" in e.attrib["d"]]
    assert curve.attrib["d"].count("M") == 2  # a gap at NaN, none at infinity
    assert offs(one(1.0, 2.0)) == []


def test_zero_on_a_log_axis_is_marked_at_the_foot() -> None:
    assert offs(one(1.0, 0.0, 1e-3, log=True)) == ["off"]


@given(st.lists(st.floats(0, 100), max_size=12), st.floats(1, 20))
def test_labels_keep_their_gap_their_order_and_the_bounds(wanted: list[float], gap: float) -> None:
    places = spread(wanted, gap, 0.0, 100.0)
    if (len(wanted) - 1) * gap > 100 + 1e-6:
        assert places is None
        return
    if places is None:
        return
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    ranked = [places[i] for i in order]
    assert all(-1e-6 <= p <= 100 + 1e-6 for p in ranked)
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(ranked))


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([10, 50, 90], 14, 0, 100) == [10, 50, 90]
    assert spread([50, 50], 10, 0, 100) == [45, 55]
    assert spread([99, 99], 10, 0, 100) == [90, 100]


@given(st.lists(st.tuples(st.floats(0, 99), st.floats(0.1, 9)), max_size=9))
def test_apart_keeps_only_what_does_not_touch(spans: list[tuple[float, float]]) -> None:
    ends = [(a, a + w) for a, w in spans]
    kept = [ends[i] for i in apart(ends, 2.0)]
    assert all(b[0] - a[1] >= 2 or a[0] - b[1] >= 2 for a, b in combinations(kept, 2))
    assert bool(kept) == bool(ends)


@given(st.lists(ANY, max_size=6), st.booleans())
def test_a_scale_holds_what_an_axis_can_hold(values: list[float], log: bool) -> None:
    scale = scale_for(values, Axis(label="", log=log))
    assert scale.low < scale.high
    for value in values:
        part, off = scale.place(value)
        assert 0 <= part <= 1
        if abs(value) < 1e290 and (value > 1e-322 or not log):
            assert not off
    for most in (2, 5, 9):
        ticks = scale.ticks(most)
        assert ticks
        assert all(scale.low <= v <= scale.high for v, _ in ticks)
        assert len({text for _, text in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("scale", "most", "texts"),
    [
        (Scale(0, 100), 5, "0 20 40 60 80 100"),
        (Scale(0, 1), 4, "0 0.25 0.50 0.75 1.00"),
        (Scale(-2, 2), 4, "−2 −1 0 1 2"),
        (Scale(1e-3, 1e3, True), 4, "10⁻² 1 100"),
        (Scale(1, 12, True), 4, "1 2 5 10"),
        (Scale(1e-40, 1, True), 5, "10⁻⁴⁰ 10⁻³⁰ 10⁻²⁰ 10⁻¹⁰ 1"),
        (Scale(1.01, 1.09, True), 4, "1.025 1.050 1.075"),
        (Scale(0, 3e6), 3, "0 10⁶ 2·10⁶ 3·10⁶"),
    ],
)  # fmt: skip
def test_ticks_are_round_numbers(scale: Scale, most: int, texts: str) -> None:
    assert [text for _, text in scale.ticks(most)] == texts.split()


def test_numbers_have_the_digits_their_step_needs() -> None:
    assert number(0.25, 0.25) == "0.25"
    assert number(1.5, 0.5) == "1.5"
    assert number(20.0, 10.0) == "20"
    assert number(-3.0, 1.0) == "−3"
    assert number(12_500.0, 2_500.0) == "12,500"


def test_the_figure_is_told_in_words() -> None:
    s = Series(name="plain-56", hue="plain", points=((1.0, 88.0), (20.0, 60.0)))
    panel = Panel(title="Plain", x=Axis(label="epoch"), y=Axis(label="error, %"), series=(s,))
    said = describe(Figure(key="f", title="", caption="", panels=(panel,)))
    assert said == "Plain: error, % against epoch. plain-56: 88 at 1, 60 at 20."


def test_a_curve_that_is_nearly_flat_has_ticks_that_can_be_read() -> None:
    scale = scale_for([0.99984, 0.99991, 1.0], Axis(label=""))
    texts = [text for _, text in scale.ticks(6)]
    assert texts
    assert all("·10" not in text and len(text) <= 8 for text in texts)
    constant = scale_for([1.0, 1.0 + 1e-7], Axis(label=""))
    assert constant.high - constant.low > 0.5


def test_dots_and_a_line_of_one_thing_are_one_entry_of_the_legend() -> None:
    dots = Series(name="a", hue="plain", points=((1.0, 1.0),), line=False, dots=True)
    line = Series(name="a", hue="plain", points=((1.0, 1.0), (2.0, 2.0)))
    x = Axis(label="")
    panels = tuple(Panel(title="", x=x, y=x, series=(s,)) for s in (dots, line))
    (key,) = Figure(key="f", title="", caption="", panels=panels).keys
    assert (key.line, key.dots) == (True, True)


@pytest.mark.parametrize("most", [2, 5, 9])
def test_a_log_axis_without_a_multiple_of_its_step_names_its_ends(most: int) -> None:
    scale = scale_for([34.0, 3.0337511738818446e39], Axis(label="", log=True))
    assert scale.ticks(most)


@pytest.mark.parametrize("top", [1.1e-9, 1.1e-3, 0.011, 1.1, 110.0, 1.1e7, 1.1e25])
@pytest.mark.parametrize("most", [3, 4, 5, 6, 8])
def test_the_text_of_a_tick_is_its_value(top: float, most: int) -> None:
    scale = scale_for([], Axis(label="", low=0.0, high=top))
    plain = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")
    for value, text in scale.ticks(most):
        lead, dot, power = text.translate(plain).replace(",", "").partition("·10")
        if not dot and text.startswith("10") and text.translate(plain) != text:
            lead, power = "1", text.translate(plain)[2:]
        assert float(lead) * 10.0 ** int(power or 0) == pytest.approx(value, rel=1e-9)
