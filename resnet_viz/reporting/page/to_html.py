"""The report as one HTML file that needs no network and trusts nothing in it.

Names in a model are somebody else's text. They reach the page in two ways only:
through Jinja with autoescape on, and as JSON data in which ``<``, ``>`` and ``&``
are escaped, which the scripts put in place with ``textContent``. A content
security policy made of the hashes of our one style and one script is the second
fence: whatever else got in would neither run nor load.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from resnet_viz.core.message import Message, join, say, say_n
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.terms import word
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.experiments.colours import figure_css
from resnet_viz.reporting.experiments.inline import drawing, whole
from resnet_viz.reporting.language import language, script_words, spoken
from resnet_viz.reporting.page.data import packed_json
from resnet_viz.reporting.page.first_paint import first_drawing
from resnet_viz.reporting.page.layer_table import all_rows, first_rows, layer_columns
from resnet_viz.reporting.page.measured import measured_sections
from resnet_viz.reporting.page.still_chart import still_chart
from resnet_viz.reporting.page.view import view

if TYPE_CHECKING:
    from jinja2 import Environment

STYLES = ("style.css", "experiment.css", "attributions.css")
FIRST_SCRIPTS = ("data.js", "boot.js")
SCRIPTS = (
    "svg.js", "layout.js", "marks.js", "paint.js", "colours.js", "camera.js", "budget.js",
    "walk.js", "diagram.js", "csv.js", "rows.js", "table.js", "charts.js", "inspector.js",
    "search.js", "links.js", "keys.js", "standalone.js", "downloads.js", "sheet.js", "app.js",
)  # fmt: skip


def render_html(report: Report, options: RenderOptions) -> bytes:
    """The report as one self-contained UTF-8 HTML page.

    Args:
        report: What to show.
        options: Theme, language, what is open at first, title, and ``diagram_only``.
    """
    from markupsafe import Markup

    page = view(report, options)
    css, theme_js, boot, code = _styles(), asset("theme.js"), _boot(), _scripts()
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            page=page,
            still=first_drawing(page["diagram"], options.collapse),
            still_chart=still_chart(page["flow"]),
            layer_columns=layer_columns(page),
            layers=first_rows(page),
            measured=measured_sections(report, options),
            drawing=drawing,
            whole=whole,
            theme=options.theme,
            csp=content_security_policy(styles=[css], scripts=[theme_js, boot, code]),
            # These are ours or escaped just here; everything else is autoescaped.
            css=Markup(css),
            js=Markup(boot),
            code=Markup(_packed_scripts()),
            theme_js=Markup(theme_js),
            data=Markup(packed_json(_page_data(page))),
        )
    )
    return xml_safe(html).encode("utf-8", "replace")


def content_security_policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """A policy that lets exactly these styles and scripts run, and nothing load."""
    return (
        f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; "
        "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
    )


def _page_data(page: dict[str, Any]) -> dict[str, Any]:
    """What the scripts need; what stands in the tables already, they read there."""
    flow = page["flow"]
    chart_keys = ("ops", "names", "whats", "kinds", "series", "axes", "reasons", "bands", "spread")
    return {
        # Its edges are in its plans as lines.
        "diagram": {k: v for k, v in page["diagram"].items() if k != "edges"},
        "collapse": page["collapse"],
        **({"rows": rows} if (rows := all_rows(page)) else {}),
        "flow": {key: flow[key] for key in chart_keys} if flow else None,
        "colourings": page["colourings"],
        "groups": page["groups"],
        "words": script_words(_scripts()),
        "blocks": [
            {k: b[k] for k in ("name", "kind", "path", "squeeze", "skip", "share", "fork", "join")}
            for b in page["costs"]["blocks"]
        ],
    }


def _hashes(texts: Sequence[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(d).decode('ascii')}'" for d in digests)


@cache
def environment() -> Environment:
    """The templates of the package, with autoescape on."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("resnet_viz", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Markup stays markup: only messages are said in the page's language.
        finalize=lambda value: spoken(value) if isinstance(value, Message) else value,
    )
    found.globals |= {
        "say": say, "say_n": say_n, "join": join, "word": word, "language": language
    }  # fmt: skip
    return found


def _styles() -> str:
    from resnet_viz.reporting.fonts import font_face_css

    drawn = [font_face_css(), asset("diagram.css"), figure_css()]
    # Widths of bars in tables; the policy forbids style attributes.
    drawn.append("".join(f".w{n}{{--w:{n}%}}" for n in range(1, 101)))
    return "\n".join([*drawn, *(asset(name) for name in STYLES), turned_css()])


def turned_css() -> str:
    """What the style adds for a language that runs from right to left; empty for others."""
    return asset("rtl.css") if language().direction == "rtl" else ""


@cache
def _boot() -> str:
    return "\n".join(asset(name) for name in FIRST_SCRIPTS)


@cache
def _packed_scripts() -> str:
    """Most of the code; the policy allows it by the hash of what it is unpacked."""
    return packed_json(_scripts())


@cache
def _scripts() -> str:
    return "\n".join(asset(name) for name in SCRIPTS)


def asset(name: str) -> str:
    """The text of a file in ``templates/assets``, without indentation and comments."""
    templates = environment()
    assert templates.loader is not None
    source, _, _ = templates.loader.get_source(templates, f"assets/{name}")
    if name.endswith(".css"):
        source = re.sub(r"/\*.*?\*/", "", source, flags=re.S)
        source = re.sub(r"[ \t]*([{};,])\s*|(:)\s+", r"\1\2", source).replace(";}", "}")
    lines = (line.strip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))
