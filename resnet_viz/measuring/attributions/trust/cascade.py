"""The randomisation check: does a map change when the weights are drawn anew?

Adebayo et al. 2018, "Sanity checks for saliency maps", cascading: from the output down,
group after group of layers, each drawn anew on a copy of the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import torch
from torch import nn

from resnet_viz.core.errors import NotApplicableError, one_line
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.attributions.question import Question

MOST_STEPS = 8
"""Groups that are drawn anew, one after the other."""

HEAD_DRAWS = 3
"""How often the first group is drawn; the step that decides is then less a matter of luck."""

_FEW_STEPS = 4
"""Below so many stages the longest are split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Layers that are drawn anew at once.

    Attributes:
        name: The module that holds them all, else the last of them, counted from the output.
        modules: Paths of the modules whose own parameters are drawn, from the output down.
        share: Of all drawn parameters those in this and earlier groups.
    """

    name: str
    modules: tuple[str, ...]
    share: float


def groups_from_top(model: nn.Module, graph: ModelGraph, structure: Structure) -> tuple[Group, ...]:
    """The model's layers from head to stem, by stages; few long stages are split at blocks.

    A parameter that several layers share is drawn with the one that reads it last.
    """
    where = {op: stage.name for stage in structure.stages for op in stage.ops}
    blocks = sorted({b.module for b in structure.blocks if b.module}, key=len)
    stages: dict[str, str] = {}
    for op in reversed(graph.ops):
        for name in op.parameters:
            stages.setdefault(name.rpartition(".")[0], where.get(op.id, ""))
    runs = _runs(stages, lambda path: stages[path])
    while 0 < len(runs) < _FEW_STEPS:
        longest = max(runs, key=len)
        pieces = _runs(longest, lambda path: _block_of(path, blocks))
        if len(pieces) < 2:
            break
        want = min(len(pieces), MOST_STEPS - len(runs) + 1)
        at = runs.index(longest)
        runs[at : at + 1] = _merged(pieces, want)
    runs = _merged(runs, MOST_STEPS)
    sizes = {
        path: sum(p.numel() for p in model.get_submodule(path).parameters(recurse=False))
        for path in stages
    }
    total = sum(sizes.values()) or 1
    found, done = [], 0
    for run in runs:
        done += sum(sizes[path] for path in run)
        name = _name(run, [path for path in stages if path not in run])
        found.append(Group(name=name, modules=tuple(run), share=done / total))
    return tuple(found)


def redraw(model: nn.Module, group: Group, seed: int) -> None:
    """Draws the parameters of a group anew; buffers (running statistics) stay.

    A layer of torch's own is initialised as torch does it; any other parameter gets its own
    values in a random order, so that nothing but their distribution is left. What is
    constant (a scale of ones, a bias of zeros) holds nothing learned and stays.
    """
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)), torch.no_grad():
        torch.manual_seed(seed)
        for path in group.modules:
            module = model.get_submodule(path)
            reset = getattr(module, "reset_parameters", None)
            # A method of a user's own may need arguments, or reach beyond this module.
            before = [b.clone() for b in module.buffers(recurse=False)]
            if callable(reset) and str(reset.__module__).startswith("torch.nn."):
                reset()
            else:
                for parameter in module.parameters(recurse=False):
                    order = torch.randperm(parameter.numel()).to(parameter.device)
                    parameter.copy_(parameter.flatten()[order].view_as(parameter))
            for buffer, value in zip(module.buffers(recurse=False), before, strict=True):
                buffer.copy_(value)


def cascade(question: Question, groups: Sequence[Group]) -> Iterator[tuple[Group, Question]]:
    """Group after group the question of a copy whose layers so far were drawn anew.

    The first group comes ``HEAD_DRAWS`` times, drawn each time.

    Raises:
        NotApplicableError: If the model cannot be copied.
    """
    try:
        model = copy.deepcopy(question.model)
    except (RuntimeError, TypeError) as error:
        raise NotApplicableError(
            f"the model cannot be copied to draw its weights anew ({one_line(error, 120)})"
        ) from error
    draws = [*groups[:1]] * (HEAD_DRAWS - 1) + [*groups]
    for number, group in enumerate(draws):
        redraw(model, group, question.seed + number)
        with question.asked_of(model) as other:
            yield group, other


def _runs(items: Sequence[str] | dict[str, str], key: Callable[[str], str]) -> list[list[str]]:
    """Neighbours of one key together."""
    found: list[list[str]] = []
    last: str | None = None
    for item in items:
        if found and key(item) == last:
            found[-1].append(item)
        else:
            found.append([item])
        last = key(item)
    return found


def _merged(runs: list[list[str]], most: int) -> list[list[str]]:
    """At most so many, of about as many runs each."""
    count = min(most, len(runs))
    bounds = [len(runs) * i // count for i in range(count + 1)] if count else []
    return [[path for run in runs[a:b] for path in run] for a, b in pairwise(bounds)]


def _block_of(path: str, blocks: list[str]) -> str:
    inside = [b for b in blocks if path == b or path.startswith(f"{b}.")]
    return inside[0] if inside else path


def _name(run: list[str], others: Sequence[str]) -> str:
    """The module that holds a run and nothing else that is drawn; else the run's last."""
    levels = zip(*(path.split(".") for path in run), strict=False)
    shared = takewhile(lambda level: len(set(level)) == 1, levels)
    name = ".".join(level[0] for level in shared)
    alone = name and not any(f"{path}.".startswith(f"{name}.") for path in others)
    return name if alone else run[-1]
