"""``LayerCandidate``: a layer where attributions can be taken."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_viz.core.graph import OpId


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCandidate:
    """A module whose output can be looked at.

    Attributes:
        path: What ``--layer`` takes.
        also: Other modules inside it that give out the same value, outermost first.
        type_name: Class of the module.
        op: The op that makes its output.
        shape: Of its output.
        layout: How it holds a map (``tokens, 14×14, 1 token in front``); empty where it
            holds none, so that only methods that need no map can look at it.
        grid: Rows and columns of that map; empty without one.
        cut: Whether all of the model goes through it, so that what is attributed there can
            account for the whole score.
        reaches: Whether its places still reach the score: those of a transformer's last
            layers do not, where only the class token is read.
        auto: Whether ``--layer auto`` takes it.
    """

    path: str
    also: tuple[str, ...] = ()
    type_name: str
    op: OpId
    shape: tuple[int, ...]
    layout: str = ""
    grid: tuple[int, ...] = ()
    cut: bool = False
    reaches: bool = True
    auto: bool = False
