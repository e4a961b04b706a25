"""The attribution methods this tool knows: one row each.

A row says which captum class runs, what it needs and what it claims; the code that
runs a row never asks for its name. LRP and the DeepLift family have no row: LRP is
silently wrong on residual nets, DeepLift refuses modules that run twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from resnet_viz.core.errors import UserError
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.layers import did_you_mean, embedding_of, reaching_inputs

ValidWhen = Callable[[ModelGraph, Structure], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One attribution method.

    Attributes:
        name: What a user types.
        title: What a reader reads.
        captum: Class in ``captum.attr``.
        source: Paper.
        says: What the values mean and what they do not claim, in one sentence.
        signed: Whether negative values mean evidence against the target.
        complete: Whether the values claim to sum to F(x) − F(x′).
        needs_layer: Whether it is taken at a layer, as a map that is then enlarged.
        needs_baseline: Whether it starts from a baseline, in ``n_steps`` steps.
        fold: How the values of one place become one number: their sum, or their
            largest magnitude (norm, for embeddings and features of a step).
        options: More arguments of captum's ``attribute``.
        valid_when: ``(graph, structure)`` to the reason why it cannot apply, or "".
    """

    name: str
    title: str
    captum: str
    source: str
    says: str
    signed: bool = False
    complete: bool = False
    needs_layer: bool = False
    needs_baseline: bool = False
    fold: Literal["sum", "magnitude"] = "sum"
    options: tuple[tuple[str, bool], ...] = ()
    valid_when: ValidWhen


def _has_input(graph: ModelGraph, _structure: Structure) -> str:
    if reaching_inputs(graph) or embedding_of(graph) is not None:
        return ""
    return "no floating input and no token embedding leads to a floating output"


def _has_image(graph: ModelGraph, structure: Structure) -> str:
    images = [i for i in reaching_inputs(graph) if len(graph[i].shape) == 4]
    if not images:
        return "no image goes in, so there is nothing to lay a map over"
    return _has_input(graph, structure)


METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method(
            name="saliency",
            title="saliency",
            captum="Saliency",
            source="Simonyan et al. 2013",
            says="Where a small change moves the score most; it has no sign, and its values "
            "do not add up to the score.",
            fold="magnitude",
            valid_when=_has_input,
        ),
        Method(
            name="integrated_gradients",
            title="integrated gradients",
            captum="IntegratedGradients",
            source="Sundararajan et al. 2017",
            says="What each place adds to the score on the way from the baseline to the input.",
            signed=True,
            complete=True,
            needs_baseline=True,
            valid_when=_has_input,
        ),
        Method(
            name="layer_grad_cam",
            title="layer Grad-CAM",
            captum="LayerGradCam",
            source="Selvaraju et al. 2017",
            says="Where the layer speaks for the target, at the layer's own resolution; only "
            "evidence for it is shown, and the values do not add up to the score.",
            needs_layer=True,
            options=(("relu_attributions", True),),
            valid_when=_has_image,
        ),
    )
}
"""Name to row. A new method is one more row."""


def find_methods(names: tuple[str, ...]) -> tuple[Method, ...]:
    """The rows of these names, in the order given.

    Raises:
        UserError: For an unknown name, with the near misses and all that are known.
    """
    for name in names:
        if name not in METHODS:
            raise UserError(
                f"unknown attribution method {name!r}{did_you_mean(name, METHODS)} "
                f"(known: {', '.join(METHODS)})"
            )
    return tuple(METHODS[name] for name in dict.fromkeys(names))
