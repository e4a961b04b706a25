"""The drawing of two models as an element of a page and as a part of a sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_viz.core.message import Message, say
from resnet_viz.reporting.escaping import escaped
from resnet_viz.reporting.experiments.plot import Drawing
from resnet_viz.reporting.side_by_side.drawing import described, draw_pairs
from resnet_viz.reporting.side_by_side.model import KEY, Paired
from resnet_viz.reporting.side_by_side.style import static_css

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDE, _NARROW = 1080.0, 348.0


@dataclass(frozen=True, slots=True)
class Picture:
    """What page and sheet ask of the drawing.

    Attributes:
        model: What is drawn.
        told: Per row of the table of differences the pair it speaks of.
    """

    model: Paired
    told: tuple[int, ...] = ()

    key = KEY
    static_css = staticmethod(static_css)

    @property
    def title(self) -> Message:
        """Of the drawing."""
        return self.model.title

    @property
    def caption(self) -> Message:
        """How to read it."""
        if self.model.scale is None:
            return say(
                "Matched parts stand at the same height; where one side has none, its line runs "
                "on through a gap. Bars and numbers in a card are its layers and their widths."
            )
        return say(
            "Matched parts stand at the same height; where one side has none, its line runs on "
            "through a gap. Outside stands the gradient of each part’s parameters, on one log "
            "scale for both; on an arc the part of the gradient that comes back over the skip."
        )

    @property
    def words(self) -> Message:
        """The drawing for those who cannot see it."""
        return described(self.model)

    def draw(self, width: float, *, narrow: bool = False) -> Drawing:
        """Its elements, for an ``<svg>`` or a ``<g>`` of class ``rv-diagram rv-pairs``."""
        return draw_pairs(self.model, width, narrow=narrow)

    def element(self, *, narrow: bool) -> Markup:
        """The ``<svg>`` for a page."""
        from markupsafe import Markup

        drawn = self.draw(_NARROW if narrow else _WIDE, narrow=narrow)
        size = "narrow" if narrow else "wide"
        # Everything in it is escaped where it is written.
        return Markup(
            f'<svg class="rv-diagram rv-pairs {size}" viewBox="-4 0 {drawn.width + 8:g} '
            f'{drawn.height:.0f}" role="img" aria-labelledby="{KEY}-{size}-t {KEY}-{size}-d">'
            f'<title id="{KEY}-{size}-t">{escaped(self.title)}</title>'
            f'<desc id="{KEY}-{size}-d">{escaped(self.words)}</desc>{"".join(drawn.lines)}</svg>'
        )
