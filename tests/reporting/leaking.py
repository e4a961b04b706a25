"""What of a page is not said: the texts that a translation would not reach.

Pages are rendered in a made-up language that puts ⟦ and ⟧ around everything that is looked up.
What is left outside are names, numbers and papers (data, told apart by where they stand) or
sentences that forgot their template.
"""

from __future__ import annotations

import gettext
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from typing import Any

from resnet_viz.core.report import Report
from resnet_viz.core.structure import SKIP_KINDS
from resnet_viz.reporting.drawing.labels import op_label

VOID = {"meta", "link", "input", "br", "image", "use", "rect", "path", "line", "circle", "stop"}
SPOKEN = ("aria-label", "title", "placeholder", "alt")
SILENT = ("script", "style", "head")
DATA = {
    "tags": ("bdi", "code", "kbd"),
    "classes": ("cite", "source", "formula", "num", "path", "brand"),
}
"""Elements whose text is data: names, source, keys, papers, formulas, numbers."""


KEYS = (".glyph", ".axes.by", ".formula", *(f".joints.{kind}" for kind in SKIP_KINDS))
"""Where a page's data have classes and ways of drawn marks, and keys that scripts compare."""


class Marked(gettext.NullTranslations):
    """A catalogue whose every answer is in brackets."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


def unsaid(text: str) -> str:
    """The text without what is in brackets."""
    while (less := re.sub(r"⟦[^⟦⟧]*⟧", "", text)) != text:
        text = less
    return re.sub(r"⟦[^⟦⟧]*…$", "", text)


def is_word(text: str) -> bool:
    """Whether anything in it is language: two letters in a row that are no number's unit."""
    left = re.sub(r"[-+−]?\d[\d.,]*(e[-+]?\d+)? ?([kMGT]?B|[kMGT]|[mµn]?s|px|%)?(?!\w)", " ", text)
    return re.search(r"[^\W\d_]{2}", left) is not None


class Page(HTMLParser):
    """The texts and labels of a page with the element that each is in."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[tuple[str, dict[str, str | None]]] = []
        self.found: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.stack.append((tag, given))
        for name in SPOKEN:
            if given.get(name) and not self._silent():
                self.found.append((f"{self._place()}@{name}", given[name] or ""))
        if tag in VOID:
            self.stack.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._silent() and not self._is_data():
            self.found.append((self._place(), data.strip()))

    def _silent(self) -> bool:
        return any(tag in SILENT for tag, _ in self.stack)

    def _is_data(self) -> bool:
        return any(
            tag in DATA["tags"]
            or any(name in DATA["classes"] for name in (given.get("class") or "").split())
            for tag, given in self.stack
        )

    def _place(self) -> str:
        return ">".join(
            tag + "".join(f".{name}" for name in (given.get("class") or "").split())
            for tag, given in self.stack[-2:]
        )


def leaks(html: str, data: Iterable[str]) -> list[tuple[str, str]]:
    """Where a text of the page stands, and what of it is neither said nor one of the data."""
    # A number that is kept in one piece is a part of its sentence.
    html = re.sub(r'<span class="whole">(.*?)</span>', r"\1", html)
    names = pattern(data)
    found = ((place, names.sub(" ", unsaid(text))) for place, text in Page(html).found)
    return [(place, left) for place, left in found if is_word(left)]


def leaks_of_json(value: Any, data: Iterable[str]) -> list[tuple[str, str]]:
    """The same of a page's data, where a sentence has a blank in it and a key has none."""
    names = pattern(data)
    texts = ((place, text) for place, text in _texts(value, "data") if not place.endswith(KEYS))
    found = ((place, names.sub("", unsaid(text))) for place, text in texts)
    return [(place, left) for place, left in found if is_word(left) and " " in left.strip()]


def pattern(data: Iterable[str]) -> re.Pattern[str]:
    """What finds every name, the longest first."""
    names = sorted({name for name in data if name and not name.isdigit()}, key=len, reverse=True)
    return re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in names))


def _texts(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{at}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, at)
    elif isinstance(value, str):
        yield at, value


def data_of(report: Report) -> set[str]:
    """Names of a report: modules, operations, classes, files, methods; never a word of ours."""
    graph, p = report.graph, report.provenance
    found = {graph.name, p.tool, p.model, p.command, p.created, p.device, *p.libraries}
    found |= {m.path for m in graph.modules} | {m.type_name for m in graph.modules}
    found |= {part for m in graph.modules for part in m.path.split(".") if not part.isdigit()}
    for op in graph.ops:
        label = op_label(graph, op)
        found |= {op.id, op.kind, op.source_line, label}
    found |= {name for op in graph.ops for name in op.parameters}
    found |= {s.name for s in report.structure.stages} | {"output#0"}
    found |= {spec.dtype for op in graph.ops for spec in op.outputs}
    found |= {report.gradient_flow.optimizer} if report.gradient_flow is not None else set()
    if report.attributions is not None:
        found |= {m.method for m in report.attributions.maps}
        found |= {f"{m.method} at {m.layer}" for m in report.attributions.maps}
        found |= {m.source for m in report.attributions.maps}
    return found
