"""The experiment as one HTML file: offline, escaped, under the policy of the reports."""

from __future__ import annotations

from resnet_viz.core.display import Savable
from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.experiments.colours import page_css
from resnet_viz.reporting.experiments.inline import drawing, whole
from resnet_viz.reporting.experiments.page import (
    check_table,
    first_checks,
    view_of,
)
from resnet_viz.reporting.fonts import font_face_css
from resnet_viz.reporting.page.to_html import (
    asset,
    content_security_policy,
    environment,
    turned_css,
)
from resnet_viz.reporting.side_by_side import style as side_by_side


def render_html(value: Savable, options: RenderOptions) -> bytes:
    """The result as one self-contained UTF-8 HTML page.

    Args:
        value: What to show.
        options: ``theme`` and ``title``.
    """
    from markupsafe import Markup

    view = view_of(value, options)
    css, js, theme_js = _styles(), asset("experiment.js"), asset("theme.js")
    if view.pairs:
        css, js = f"{css}\n{side_by_side.page_css()}", f"{js}\n{asset('side_by_side.js')}"
    html = (
        environment()
        .get_template("experiment.html.j2")
        .render(
            page=view,
            theme=options.theme,
            checks=[check_table(part) for part in first_checks(view.checks)],
            drawing=drawing,
            whole=whole,
            csp=content_security_policy(styles=[css], scripts=[theme_js, js]),
            # These are ours; everything else is autoescaped.
            css=Markup(css),
            js=Markup(js),
            theme_js=Markup(theme_js),
        )
    )
    return xml_safe(html).encode("utf-8", "replace")


def _styles() -> str:
    return "\n".join(
        [font_face_css(), page_css(), asset("style.css"), asset("experiment.css"), turned_css()]
    )
