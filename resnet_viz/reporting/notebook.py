"""How a value shows itself in a notebook: a page in a frame of its own, or a still picture.

The page lives in a sandboxed frame without an origin: its scripts run, but cannot reach the
notebook, and the notebook's styles cannot reach the page. Where a notebook is not trusted, or
only looked at (GitHub), frames are taken out; what lies behind the frame is seen then.
"""

from __future__ import annotations

import base64
import html

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.display import Shown
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.show import as_savable, render, summary_line

_HEIGHT = 640  # pixels: most of a laptop's notebook, and some of the next cell
# No allow-same-origin: the frame stays a stranger to the notebook. Files and links to papers
# leave it by a reader's click only.
_SANDBOX = "allow-scripts allow-downloads allow-popups allow-popups-to-escape-sandbox"


def mimebundle(value: Shown) -> dict[str, str]:
    """A value for Jupyter, VS Code and Colab: HTML, a still SVG, and one line of text."""
    still = render(as_savable(value), "svg").decode()
    return {
        "text/html": _framed(value, still),
        "image/svg+xml": still,
        "text/plain": _names(value)[1],
    }


def framed_page(value: Shown) -> str:
    """A value as HTML to put into a page: its own page in a sandboxed frame."""
    return _framed(value, render(as_savable(value), "svg").decode())


def _framed(value: Shown, still: str) -> str:
    title, line = (html.escape(text) for text in _names(value))
    options = RenderOptions(diagram_only=isinstance(value, ModelGraph))
    page = render(as_savable(value), "html", options).decode()
    if options.diagram_only:
        page = page.replace('class="nojs', 'class="framed nojs', 1)
    page = html.escape(page)
    picture = base64.b64encode(still.encode()).decode("ascii")
    return (
        '<div style="position:relative">'
        '<div aria-hidden="true" style="position:absolute;inset:0;overflow:hidden">'
        f'<img alt="{line}" src="data:image/svg+xml;base64,{picture}" style="max-width:100%">'
        "<p>Trust this notebook to see the page in place of this picture.</p></div>"
        f'<iframe sandbox="{_SANDBOX}" allow="clipboard-write" title="{title}" '
        f'style="position:relative;width:100%;height:{_HEIGHT}px;border:0;resize:vertical" '
        f'srcdoc="{page}"></iframe></div>'
    )


def _names(value: Shown) -> tuple[str, str]:
    """A value's title, and all of it in one line."""
    if isinstance(value, ModelGraph):
        return value.name, repr(value)
    known = as_savable(value)
    if isinstance(known, Report):
        return known.graph.name, summary_line(known)
    if isinstance(known, Attributions):
        from resnet_viz.reporting.attributions.words import line_of

        title = value.method if isinstance(value, Attribution) else "Attributions"
        return title, line_of(known)
    from resnet_viz.reporting.experiments.page import view_of

    view = view_of(known, RenderOptions())
    return view.title, view.line
