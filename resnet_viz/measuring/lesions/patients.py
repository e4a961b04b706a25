"""A net as lesions see it: which blocks it has, how to delete them, how to exchange them.

A residual net's blocks come from its structure and are deleted at their joins. A plain
net has no joins: there the blocks are layers in containers, deleted as the identity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor, nn

from resnet_viz.core.errors import NotApplicableError
from resnet_viz.core.graph import OpId, is_inside
from resnet_viz.core.structure import Block, Structure
from resnet_viz.core.units import shape as shape_text
from resnet_viz.measuring.lesions.bypassing import Bypass, JoinSurvey, State
from resnet_viz.measuring.lesions.plans import Arrangement
from resnet_viz.measuring.lesions.siblings import (
    Sibling,
    exchanged,
    find_siblings,
    layers_of,
    left_out,
    observing,
)
from resnet_viz.tracing.calls import CallObserver
from resnet_viz.tracing.module_tree import ModuleTree

_DELETABLE = ("identity", "projection", "scaled")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patient:
    """What can be done to a net's blocks; everything is undone when its context ends.

    Attributes:
        names: Of the blocks that can be deleted, in forward order.
        changing: Numbers of those that change their input's shape.
        arrangement: Which blocks move together and which may change places.
        refused: What cannot be deleted or moved, with the reason.
        observer: What watches every forward.
    """

    names: tuple[str, ...]
    changing: frozenset[int]
    arrangement: Arrangement
    refused: tuple[str, ...]
    observer: Bypass
    _delete: Callable[[Iterable[int]], AbstractContextManager[None]]
    _segments: tuple[Sibling | None, ...]

    def deleting(self, blocks: Iterable[int]) -> AbstractContextManager[None]:
        """Within it these blocks are deleted."""
        return self._delete(blocks)

    def permuting(self, places: Sequence[int]) -> AbstractContextManager[None]:
        """Within it the segment ``places[i]`` of the arrangement stands at place i."""
        pairs = []
        for place, segment in enumerate(places):
            there, comes = self._segments[place], self._segments[segment]
            if there is not None and comes is not None and there is not comes:
                pairs.append((there, comes))
        return exchanged(pairs)


def examine(
    model: nn.Module,
    structure: Structure,
    state: State,
    inputs: Sequence[Tensor],
    forward: Callable[[CallObserver], object],
) -> Patient:
    """What can be deleted and moved in the net, from one forward of it.

    Args:
        model: The net, in eval mode.
        structure: Of its graph.
        state: See ``state_names``.
        inputs: The tensors that ``forward`` gives to the net.
        forward: Runs the net once under an observer.

    Raises:
        NotApplicableError: If no block can be deleted.
    """
    siblings = find_siblings(ModuleTree(model))
    blocks = [block for block in structure.blocks if block.skip.kind in _DELETABLE]
    survey = JoinSurvey(state, [block.skip for block in blocks], inputs)
    with observing(siblings.values()):
        forward(survey)
    joined = [block for block in blocks if block.skip.join in survey.joins]
    if joined:
        return _residual(structure, joined, survey, state, siblings)
    return _plain(structure, survey, state, siblings)


def _residual(
    structure: Structure,
    blocks: Sequence[Block],
    survey: JoinSurvey,
    state: State,
    siblings: Mapping[str, Sibling],
) -> Patient:
    refused = _undeletable(structure, survey)
    homes = [_home(block, siblings) for block in blocks]
    segments: list[list[int]] = []
    owners: list[Sibling | None] = []
    for number, home in enumerate(homes):
        if home is not None and owners and owners[-1] is home:
            segments[-1].append(number)
        else:
            segments.append([number])
            owners.append(home)
    groups, unmoved = _groups(owners)
    names = block_names(structure.blocks)
    for segment, reason in unmoved:
        refused += [f"{names[blocks[n].skip.join]}: not moved, {reason}" for n in segments[segment]]
    joins = [block.skip.join for block in blocks]
    bypass = Bypass(state, survey.joins)
    return Patient(
        names=tuple(names[join] for join in joins),
        changing=frozenset(n for n, join in enumerate(joins) if survey.joins[join].changing),
        arrangement=Arrangement(segments=tuple(map(tuple, segments)), groups=groups),
        refused=tuple(refused),
        observer=bypass,
        _delete=lambda numbers: bypass.deleting([joins[n] for n in numbers]),
        _segments=tuple(owners),
    )


def _undeletable(
    structure: Structure, survey: JoinSurvey, besides: Container[str] = ()
) -> list[str]:
    names = block_names(structure.blocks)
    told = []
    for block in structure.blocks:
        name = names[block.skip.join]
        if name in besides:
            continue
        if block.skip.kind not in _DELETABLE:
            told.append(f"{name}: not deleted, its {block.skip.kind} needs what the branch gives")
        elif block.skip.join in survey.unclear:
            told.append(f"{name}: not deleted, which operand is its shortcut cannot be told")
        elif block.skip.join not in survey.joins:
            told.append(f"{name}: not deleted, it does not run in eval mode as it was traced")
    return told


def block_names(blocks: Iterable[Block]) -> dict[OpId, str]:
    """The path of each block's module, by its join; the join itself where that is shared."""
    blocks = list(blocks)
    times = Counter(block.module for block in blocks)
    return {
        block.skip.join: block.module
        if block.module and times[block.module] == 1
        else block.skip.join
        for block in blocks
    }


def _home(block: Block, siblings: Mapping[str, Sibling]) -> Sibling | None:
    """The innermost child of a container that holds the block."""
    around = [path for path in siblings if is_inside(block.module, path)]
    return siblings[max(around, key=len)] if around else None


def _plain(
    structure: Structure, survey: JoinSurvey, state: State, siblings: Mapping[str, Sibling]
) -> Patient:
    layers = layers_of(siblings)
    owners = sorted((s for s in layers if s.keeps_shape), key=lambda s: s.turn)
    refused = _undeletable(structure, survey, besides={s.path for s in owners})
    refused += [f"{s.path}: not deleted, {_why_fixed(s)}" for s in layers if not s.keeps_shape]
    if not owners:
        reason = f": {refused[0]}" if refused else ", and it has no containers of layers"
        raise NotApplicableError(f"no block of this net can be deleted{reason}")
    groups, unmoved = _groups(owners)
    refused += [f"{owners[n].path}: not moved, {reason}" for n, reason in unmoved]
    return Patient(
        names=tuple(s.path for s in owners),
        changing=frozenset(),
        arrangement=Arrangement(segments=tuple((n,) for n in range(len(owners))), groups=groups),
        refused=tuple(refused),
        observer=Bypass(state, {}),
        _delete=lambda numbers: left_out([owners[n] for n in numbers]),
        _segments=tuple(owners),
    )


def _groups(
    owners: Sequence[Sibling | None],
) -> tuple[tuple[tuple[int, ...], ...], list[tuple[int, str]]]:
    """Which segments may change places, and why the others may not."""
    alike: dict[tuple[nn.Module, tuple[int, ...]], list[int]] = {}
    alone: list[tuple[int, str]] = []
    times = Counter(owner for owner in owners if owner is not None)
    for number, owner in enumerate(owners):
        if owner is None:
            alone.append((number, "it is not in a container"))
        elif times[owner] > 1:
            alone.append((number, "other blocks run between its parts"))
        elif not owner.keeps_shape or owner.given is None:
            alone.append((number, _why_fixed(owner)))
        else:
            alike.setdefault((owner.container, owner.given), []).append(number)
    lonely = (group[0] for group in alike.values() if len(group) == 1)
    alone += [(number, "no block of its shape is beside it") for number in lonely]
    groups = tuple(tuple(group) for group in alike.values() if len(group) > 1)
    return groups, sorted(alone)


def _why_fixed(sibling: Sibling) -> str:
    if sibling.calls != 1:
        return f"it runs {sibling.calls} times in one forward" if sibling.calls else "it never runs"
    if sibling.given is None or sibling.returned is None:
        return "it does not turn one tensor into one tensor"
    return f"it turns {shape_text(sibling.given[1:])} into {shape_text(sibling.returned[1:])}"
