"""Attributions alone as a page and as text: what a notebook shows of ``rv.attribute``."""

from __future__ import annotations

import io

from resnet_viz.core.attribution import Attributions
from resnet_viz.core.report import Provenance, RenderOptions
from resnet_viz.reporting.attributions.section import attribution_view
from resnet_viz.reporting.attributions.words import line_of
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.experiments.colours import page_css
from resnet_viz.reporting.experiments.inline import whole
from resnet_viz.reporting.fonts import font_face_css
from resnet_viz.reporting.page.to_html import (
    asset,
    content_security_policy,
    environment,
    turned_css,
)

STYLES = ("style.css", "experiment.css", "attributions.css")


def render_html(found: Attributions, options: RenderOptions) -> bytes:
    """The contact sheet as one self-contained UTF-8 HTML page.

    Args:
        found: What to show.
        options: ``theme`` and ``title``.
    """
    from markupsafe import Markup

    css, js, theme_js = _styles(), asset("experiment.js"), asset("theme.js")
    view = attribution_view(found, Provenance())
    html = (
        environment()
        .get_template("attributions.html.j2")
        .render(
            page={"title": options.title or "Attributions", "attributions": view},
            theme=options.theme,
            whole=whole,
            csp=content_security_policy(styles=[css], scripts=[theme_js, js]),
            # These are ours; everything else is autoescaped.
            css=Markup(css),
            js=Markup(js),
            theme_js=Markup(theme_js),
        )
    )
    return xml_safe(html).encode("utf-8", "replace")


def render_text(found: Attributions, options: RenderOptions) -> bytes:
    """Verdicts, relevance and notes as UTF-8 text, 80 columns, no colours."""
    from rich.console import Console

    from resnet_viz.reporting.attributions.text import attribution_parts
    from resnet_viz.reporting.text.sections import plain

    buffer = io.StringIO()
    console = Console(
        file=buffer, width=80, force_terminal=False, color_system=None, legacy_windows=False
    )
    console.print(plain(options.title or line_of(found), "bold"))
    for part in attribution_parts(found, None):
        console.print(part)
    lines = [xml_safe(line).rstrip() for line in buffer.getvalue().split("\n")]
    return ("\n".join(lines).rstrip() + "\n").encode()


def _styles() -> str:
    return "\n".join([font_face_css(), page_css(), *(asset(name) for name in STYLES), turned_css()])
