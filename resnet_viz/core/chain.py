"""The chain: the factors whose product makes a gradient vanish or explode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnet_viz.core.graph import OpId


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A piece of the network that all of the gradient passes.

    The chain rule over the pieces: ‖∂L/∂x_in‖ = gain · ‖∂L/∂x_out‖, so that the product
    of all gains from the loss back to here is ``product`` (He et al. 2016, 1603.05027,
    eq. 5; Glorot & Bengio 2010, eq. 6, for the plain net).

    Attributes:
        name: The block's module path, or the weighted layer's.
        kind: ``block`` (a residual block), ``layer`` (a weighted layer outside of one) or
            ``between`` (what lies between two of them).
        start: The op (or input) whose output is x_in.
        end: The op whose output is x_out; the start of the next link.
        depth: Weighted layers from the input to ``end``, on the longest way.
        gradient_in: ‖∂L/∂x_in‖.
        gradient_out: ‖∂L/∂x_out‖.
        gain: Their ratio; NaN where the gradient at the end is zero or not finite.
        product: ‖∂L/∂x_in‖ over the norm at the end of the last link: the product of
            this and all later gains.
    """

    name: str
    kind: Literal["block", "layer", "between"]
    start: OpId
    end: OpId
    depth: int
    gradient_in: float
    gradient_out: float
    gain: float
    product: float
