"""A forward whose gradient goes to the input and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from torch import nn
from torch.nn.parameter import is_lazy

from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import NotApplicableError, ResnetVizError
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.measuring.autograd_graph import Place
from resnet_viz.measuring.one_pass import Forwarded, Setting, conditions, run_forward


def run_towards_input(stack: ExitStack, setting: Setting, batch: Batch, *, seed: int) -> Forwarded:
    """A forward under conditions that last until the stack is left.

    A model that differentiates by itself (an inner loop over its weights) needs them to ask
    for gradients: where the forward does not run without, they do.

    Raises:
        ResnetVizError: See ``run_forward``.
    """
    refused: list[ResnetVizError] = []
    for context in (towards_input(setting.model, setting.graph), nullcontext()):
        with ExitStack() as trial:
            kept = trial.enter_context(conditions(setting, seed))
            trial.enter_context(context)
            try:
                ran = run_forward(
                    setting, batch, kept=kept, seed=seed, every_input=True, past_frozen=True
                )
            except ResnetVizError as error:
                refused.append(error)
            else:
                stack.push(trial.pop_all())
                return ran
    raise refused[0]


@contextmanager
def towards_input(model: nn.Module, graph: ModelGraph) -> Iterator[None]:
    """Within it no parameter asks for a gradient, but those of layers that start a path.

    A node that is called by itself computes all the gradients it could: those of weights
    would double the cost.
    """
    flow = flow_of(graph)
    kept = {name for start in _starts(flow) for name in flow.weights[start]}
    changed = [
        (parameter, parameter.requires_grad)
        for name, parameter in model.named_parameters()
        if not is_lazy(parameter) and parameter.requires_grad != (name in kept)
    ]
    try:
        for parameter, before in changed:
            parameter.requires_grad_(not before)
        yield
    finally:
        for parameter, before in changed:
            parameter.requires_grad_(before)


def start_of(forwarded: Forwarded, graph: ModelGraph) -> tuple[OpId, Place]:
    """Where the paths start: the first input, or the embedding of its token ids.

    Where the forward detaches it, they start at the layer behind the cut.

    Raises:
        NotApplicableError: If the loss depends on none.
    """
    flow = flow_of(graph)
    reached = {arrival.place for arrival in forwarded.arrivals}
    places = {made.op: made.place for made in reversed(forwarded.nodes.produced)}
    for start in _starts(flow):
        op = flow.nodes[start].id
        if op in places and places[op] in reached:
            return op, places[op]
    raise NotApplicableError(
        "no gradient of the loss reaches an input or the embedding of one: the forward "
        "rounds it or runs under no_grad"
    )


def _starts(flow: FlowGraph) -> list[int]:
    """Activations computed from none, in the order of the inputs that they come from.

    A mask may be floating as well, but the token ids are given first.
    """
    inputs = len(flow.graph.inputs)
    origin: list[int] = []
    for node, sources in enumerate(flow.sources):
        behind = min((origin[s] for s in sources), default=inputs)
        origin.append(node if node < inputs else behind)
    starts = [n for n, active in enumerate(flow.active) if active and not flow.preds[n]]
    return sorted(starts, key=lambda n: (origin[n], n))
