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
import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from resnet_viz.core.message import Message, join, say, say_n
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.experiments.colours import figure_css
from resnet_viz.reporting.experiments.inline import drawing, whole
from resnet_viz.reporting.language import language, script_words, spoken
from resnet_viz.reporting.measured import measured_sections
from resnet_viz.reporting.view import view

if TYPE_CHECKING:
    from jinja2 import Environment

STYLES = ("style.css", "experiment.css", "attributions.css")
SCRIPTS = (
    "svg.js", "data.js", "layout.js", "paint.js", "camera.js", "diagram.js", "table.js",
    "charts.js", "app.js",
)  # fmt: skip

_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def render_html(report: Report, options: RenderOptions) -> bytes:
    """The report as one self-contained UTF-8 HTML page.

    Args:
        report: What to show.
        options: Theme, language, what is open at first, title, and ``diagram_only``.
    """
    from markupsafe import Markup

    page = view(report, options)
    css, js, theme_js = _styles(), _scripts(), asset("theme.js")
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            page=page,
            measured=measured_sections(report, options),
            drawing=drawing,
            whole=whole,
            theme=options.theme,
            csp=content_security_policy(styles=[css], scripts=[theme_js, js]),
            # These are ours or escaped just here; everything else is autoescaped.
            css=Markup(css),
            js=Markup(js),
            theme_js=Markup(theme_js),
            data=Markup(script_json(_page_data(page))),
        )
    )
    return xml_safe(html).encode("utf-8", "replace")


def script_json(value: object) -> str:
    """Compact JSON that cannot end or break a ``<script>`` element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPES)


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
        "flow": {key: flow[key] for key in chart_keys} if flow else None,
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
    found.globals |= {"say": say, "say_n": say_n, "join": join, "language": language}
    return found


@cache
def _styles() -> str:
    from resnet_viz.reporting.fonts import font_face_css

    drawn = [font_face_css(), asset("diagram.css"), figure_css()]
    return "\n".join([*drawn, *(asset(name) for name in STYLES)])


@cache
def _scripts() -> str:
    return "\n".join(asset(name) for name in SCRIPTS)


def asset(name: str) -> str:
    """The text of a file in ``templates/assets``, without indentation and comment lines."""
    templates = environment()
    assert templates.loader is not None
    source, _, _ = templates.loader.get_source(templates, f"assets/{name}")
    lines = (line.strip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))
