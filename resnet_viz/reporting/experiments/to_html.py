"""The experiment as one HTML file: offline, escaped, under the policy of the reports.

Every figure is drawn twice, for a wide page and for a telephone, and CSS shows one:
a drawing that is only scaled down would have letters nobody can read.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from resnet_viz.core.experiments.common import Result
from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.experiments.colours import page_css
from resnet_viz.reporting.experiments.figure import Figure
from resnet_viz.reporting.experiments.page import (
    check_table,
    first_checks,
    view_of,
)
from resnet_viz.reporting.experiments.plot import describe, draw
from resnet_viz.reporting.fonts import font_face_css
from resnet_viz.reporting.to_html import asset, content_security_policy, environment

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDE, _NARROW = 1080.0, 348.0


def render_html(value: Result, options: RenderOptions) -> bytes:
    """The result as one self-contained UTF-8 HTML page.

    Args:
        value: What to show.
        options: ``theme`` and ``title``.
    """
    from markupsafe import Markup, escape

    view = view_of(value, options)

    def drawing(figure: Figure, narrow: bool) -> Markup:
        drawn = draw(figure, _NARROW if narrow else _WIDE, narrow=narrow)
        size = "narrow" if narrow else "wide"
        name = f"{figure.key}-{size}"
        # draw() escapes every text it writes.
        return Markup(
            f'<svg class="rv-figure {size}" viewBox="0 0 {drawn.width:g} {drawn.height:.0f}" '
            f'role="img" aria-labelledby="{escape(name)}-t {escape(name)}-d">'
            f'<title id="{escape(name)}-t">{escape(figure.title)}</title>'
            f'<desc id="{escape(name)}-d">{escape(describe(figure))}</desc>'
            + "".join(drawn.lines)
            + "</svg>"
        )

    css, js, theme_js = _styles(), asset("experiment.js"), asset("theme.js")
    html = (
        environment()
        .get_template("experiment.html.j2")
        .render(
            page=view,
            theme=options.theme,
            checks=[check_table(part) for part in first_checks(view.checks)],
            drawing=drawing,
            whole=_whole,
            csp=content_security_policy(styles=[css], scripts=[theme_js, js]),
            # These are ours; everything else is autoescaped.
            css=Markup(css),
            js=Markup(js),
            theme_js=Markup(theme_js),
        )
    )
    return xml_safe(html).encode("utf-8", "replace")


def _whole(text: str) -> Markup:
    """The text escaped, with numbers such as 9.1e-32 kept on one line."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"[\d.]+e-\d+", r'<span class="whole">\g<0></span>', str(escape(text))))


@cache
def _styles() -> str:
    return "\n".join([font_face_css(), page_css(), asset("style.css"), asset("experiment.css")])
