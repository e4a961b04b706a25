"""Facts about a graph: ``rv.trace``, ``rv.verify``, ``rv.annotate``, costs and path lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.paths import Unit
from resnet_viz.pipeline.checking import expect
from resnet_viz.study import (
    Mode,
    Study,
    analyse,
    inputs_of,
    load_model,
    sized,
    traced,
    traced_batch,
    verify_batch,
)

if TYPE_CHECKING:
    from torch import nn

    from resnet_viz.core.paths import PathLengths
    from resnet_viz.core.proof import Proof
    from resnet_viz.core.structure import Costs, Memory, Structure
    from resnet_viz.study.sizes import Dtypes, InputSize

_WANTED = "expected a ModelGraph, as rv.trace(model) makes it"


def trace(
    model: nn.Module | str,
    *,
    input_size: InputSize | None = None,
    input_data: Any = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    name: str = "",
    **kwargs: Any,
) -> ModelGraph:
    """The graph of one forward; the model is left exactly as it came.

    Args:
        model: A module, or text as ``load`` takes it.
        input_size: Shape of the input, batch axis included; a list of shapes, one per
            argument of ``forward``; or a dict of shapes by name.
        input_data: A tensor, a tuple (``*args``) or a dict (``**kwargs``), of any values;
            anything else, a list too, is one argument. Without either, an input that
            suits the model is found.
        dtypes: Of the inputs that ``input_size`` gives: one, or one for each.
        mode: Train or eval mode for this call. If ``None``: the mode the module has;
            eval where ``model`` is text.
        name: What to call the graph.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        TraceError: If ``forward`` raises; ``.graph`` holds what ran until then.
        UserError: If no input is given and none can be found.
    """
    study = Study(
        model=model,
        name=name,
        inputs=sized(input_size, dtypes),
        input_data=input_data,
        input_kwargs=kwargs,
        sections=(),
    )
    loaded = load_model(study)
    with loaded.running():
        batch, _, _ = traced_batch(study, loaded)
        own_mode = mode is None and not isinstance(model, str)
        return traced(study, loaded, batch, None if own_mode else mode == "train")[1]


def verify(
    graph: ModelGraph,
    model: nn.Module | str,
    *,
    input_size: InputSize | None = None,
    input_data: Any = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    **kwargs: Any,
) -> Proof:
    """The proof that ``graph`` is what one forward of ``model`` does, without gradients.

    The model is traced again for real and must give this graph; its calls are replayed
    one by one without the model, and must give the bits of a plain forward, on this input
    and on other values of it; every kernel of that forward must belong to a recorded call;
    edges are found again from memory, and parameters and MACs are added up again. What
    ``torch.compile`` has wrapped runs as Python; on CUDA algorithms are deterministic.

    Args:
        graph: As ``trace`` gave it, or read from JSON.
        model: Left exactly as it came, whatever happens.
        input_size: As ``trace`` takes it; must be as it was for the graph. If neither it nor
            ``input_data`` is given: what the graph says of its inputs.
        input_data: As ``trace`` takes it.
        dtypes: Of the inputs that ``input_size`` gives.
        mode: As ``trace`` takes it.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        UnfaithfulError: If the graph is not what the model does, naming the op.
        UnprovableError: If no replay can follow the forward: Python reads values of
            tensors, draws random numbers outside torch, or the model is on meta.
        TraceError: If ``forward`` raises.
    """
    expect(graph, ModelGraph, _WANTED)
    study = Study(
        model=model,
        name=graph.name,
        inputs=sized(input_size, dtypes) or (() if input_data is not None else inputs_of(graph)),
        input_data=input_data,
        input_kwargs=kwargs,
        verify=True,
    )
    loaded = load_model(study)
    with loaded.running():
        batch, _, _ = traced_batch(study, loaded)
        own_mode = mode is None and not isinstance(model, str)
        return verify_batch(graph, loaded, batch, None if own_mode else mode == "train")


def annotate(graph: ModelGraph, memory: Memory | None = None) -> Structure:
    """Skips, blocks, stages and costs of a graph.

    Args:
        graph: What ran.
        memory: What the backward keeps, as ``measure_costs`` finds it; without it the
            costs say nothing of training.
    """
    from resnet_viz import analysis

    expect(graph, ModelGraph, _WANTED)
    return analysis.annotate(graph, memory)


def measure_costs(
    model: nn.Module | str,
    *,
    input_size: InputSize | None = None,
    input_data: Any = None,
    dtypes: Dtypes | None = None,
    mode: Mode | None = None,
    **kwargs: Any,
) -> Costs:
    """What one forward and one backward cost: parameters, MACs, bytes and peaks of memory.

    Per call, module, block, stage and kind of op. Nothing is computed and no memory
    taken wherever the model runs on meta. MACs and activations are those of a forward in
    eval mode; what the backward keeps, and the peak of training, are those of ``mode``.

    Args:
        model: Left exactly as it came.
        input_size: As ``trace`` takes it; costs are those of this batch size.
        input_data: As ``trace`` takes it.
        dtypes: Of the inputs that ``input_size`` gives.
        mode: Train or eval mode of the backward; the mode the model has if ``None``.
        **kwargs: More keyword arguments of ``forward``.

    Raises:
        TraceError: If ``forward`` raises.
        UserError: If no input is given and none can be found.
    """
    study = Study(
        model=model,
        inputs=sized(input_size, dtypes),
        input_data=input_data,
        input_kwargs=kwargs,
        mode=mode,
        sections=(),
    )
    return analyse(study).structure.costs


def path_lengths(graph: ModelGraph, unit: Unit = "block") -> PathLengths:
    """How many paths from input to output have which length; exact integers.

    Args:
        graph: What ran.
        unit: What a length counts: residual branches (``block``) or weighted layers
            (``layer``).

    Raises:
        UserError: For another unit.
    """
    from resnet_viz.analysis.paths import path_lengths as count_paths
    from resnet_viz.core.errors import UserError

    expect(graph, ModelGraph, _WANTED)
    if unit not in get_args(Unit):
        raise UserError(f"unit={unit!r}: a length counts one of {', '.join(get_args(Unit))}")
    return count_paths(graph, unit=unit)
