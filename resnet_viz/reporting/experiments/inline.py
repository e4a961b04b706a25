"""Figures as elements of a page: drawn twice, for a wide window and for a telephone.

CSS shows one of them: a drawing that is only scaled down would have letters nobody can read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resnet_viz.reporting.escaping import escaped
from resnet_viz.reporting.experiments.figure import Figure
from resnet_viz.reporting.experiments.plot import describe, draw
from resnet_viz.reporting.language import spoken

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDE, _NARROW = 1080.0, 348.0


def drawing(figure: Figure, narrow: bool) -> Markup:
    """The figure as an ``<svg>`` element with its title and its words."""
    from markupsafe import Markup

    drawn = draw(figure, _NARROW if narrow else _WIDE, narrow=narrow)
    size = "narrow" if narrow else "wide"
    name = f"{figure.key}-{size}"
    # draw() escapes every text it writes.
    return Markup(
        f'<svg class="rv-figure {size}" viewBox="0 0 {drawn.width:g} {drawn.height:.0f}" '
        f'role="img" aria-labelledby="{escaped(name)}-t {escaped(name)}-d">'
        f'<title id="{escaped(name)}-t">{escaped(figure.title)}</title>'
        f'<desc id="{escaped(name)}-d">{escaped(describe(figure))}</desc>'
        + "".join(drawn.lines)
        + "</svg>"
    )


def whole(text: str) -> Markup:
    """The text escaped, with numbers such as 9.1e-32 and 63.8 % kept on one line."""
    from markupsafe import Markup, escape

    text = re.sub(r"(\d) %", "\\1\u00a0%", spoken(text))
    number, kept = r"[-−]?[\d.]+e-\d+", r'<span class="whole">\g<0></span>'
    return Markup(re.sub(number, kept, str(escape(text))))
