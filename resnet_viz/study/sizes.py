"""Shapes of inputs, as the ``rv`` functions take them, as input specs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from resnet_viz.core.errors import UserError
from resnet_viz.core.graph import ModelGraph

if TYPE_CHECKING:
    import torch

    from resnet_viz.sources.inputs import InputSpec

InputSize: TypeAlias = "Sequence[int] | Sequence[Sequence[int]] | Mapping[str, Sequence[int]]"
Dtypes: TypeAlias = "torch.dtype | str | Sequence[torch.dtype | str] | Mapping[str, Any]"


def sized(input_size: InputSize | None, dtypes: Dtypes | None) -> tuple[InputSpec, ...]:
    """The inputs that these sizes ask for.

    Raises:
        UserError: For dtypes without sizes, or sizes that are none.
    """
    if input_size is None:
        if dtypes is not None:
            raise UserError("dtypes without input_size: they say what its inputs are made of")
        return ()
    from resnet_viz.sources.inputs import sized_inputs

    return sized_inputs(input_size, dtypes)


def inputs_of(graph: ModelGraph) -> tuple[InputSpec, ...]:
    """Inputs as the graph had them; none where one was a part of a larger value."""
    from resnet_viz.sources.inputs import InputSpec

    if not all(op.label.isidentifier() and op.shape for op in graph.inputs):
        return ()
    return tuple(
        InputSpec(shape=op.shape, dtype=op.outputs[0].dtype, name=op.label) for op in graph.inputs
    )
