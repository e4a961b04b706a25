"""Which layers are looked at, and in what form captum sees them.

Captum takes channels for axis 1 and a layer for a module that puts out one tensor. A module
that stands in after the layer shows it what it takes for granted: the first tensor the layer
puts out, and its channels first where captum folds them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.analysis.cuts import cuts_of
from resnet_viz.analysis.kinds import words
from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.units import shape as shape_text
from resnet_viz.measuring.attributions.methods import Method
from resnet_viz.measuring.attributions.subject import Subject, first_tensor
from resnet_viz.measuring.layers import (
    Layout,
    candidates,
    check_layer,
    find_map,
    layout_at,
    main_output,
)
from resnet_viz.measuring.layers.places import output_of_module

AUTO = "auto"
_CHANNELS_FIRST = words(
    """conv1d conv_transpose1d batch_norm group_norm instance_norm max_pool1d avg_pool1d
    adaptive_avg_pool1d adaptive_max_pool1d"""
)
_CHANNELS_LAST = words(
    """linear layer_norm rms_norm embedding lstm gru rnn_tanh rnn_relu
    scaled_dot_product_attention"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A layer asked for, before it was seen.

    Attributes:
        asked: A path, or ``auto``.
        modules: What may be meant, outermost first.
        cuts: What is meant by methods that are right only where everything goes through.
        reason: Why there is no map.
        note: What a reader must know of it.
    """

    asked: str
    modules: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A layer that is looked at.

    Attributes:
        path: Its module.
        shape: Of what it puts out.
        layout: How that holds a map of each sample; ``None`` where it holds none.
        channels_first: Whether channels come before steps, where it holds no map.
        cut: Whether all that is attributed goes through it on the way to the score.
        note: What a reader must know of it.
        instead: Where nobody named it and part of the score goes past: a layer that is a cut.
    """

    path: str
    shape: tuple[int, ...]
    layout: Layout | None = None
    channels_first: bool = True
    cut: bool = False
    note: str = ""
    instead: Look | None = None

    @property
    def places(self) -> tuple[int, ...]:
        """Its places: height × width, steps, or none."""
        if self.layout is not None:
            return self.layout.grid
        return self.shape[2:] if self.channels_first else self.shape[1:2]

    def standing(self, tensor: Tensor) -> Tensor:
        """What it puts out as channels by places, ``(N, C, places…)``."""
        if self.layout is not None:
            return self.layout.to_map(tensor)
        return tensor if self.channels_first else tensor.transpose(1, 2)

    def lying(self, maps: Tensor, like: Tensor) -> Tensor:
        """Channels by places in the layer's own form; what is no place is as in ``like``."""
        where = torch.arange(math.prod(like.shape[1:]), device=like.device)
        order = self.standing(where.view(1, *like.shape[1:])).flatten()
        flat = like.flatten(1)
        return flat.scatter(1, order.expand(len(like), -1), maps.flatten(1)).view_as(like)


def wishes_of(model: nn.Module, graph: ModelGraph, layers: Sequence[str]) -> tuple[Wish, ...]:
    """What is meant by each of these layers, once each.

    Raises:
        UserError: For a layer that a person named and that cannot be looked at.
    """
    return tuple(_wish(model, graph, asked) for asked in dict.fromkeys(layers))


def _wish(model: nn.Module, graph: ModelGraph, asked: str) -> Wish:
    if asked != AUTO:
        check_layer(model, graph, asked)
        return Wish(asked=asked, modules=(asked,))
    known = {path for path, _ in model.named_modules()}
    wish = auto_wish(graph)
    return replace(
        wish,
        modules=tuple(p for p in wish.modules if p in known),
        cuts=tuple(p for p in wish.cuts if p in known),
    )


def auto_wish(graph: ModelGraph) -> Wish:
    """What ``auto`` means: the last map, and the last layer that everything goes through."""
    choice = find_map(graph)
    ends = {o.src for o in graph.outputs}
    cuts = [c for c in candidates(graph) if c.cut and c.op not in ends]
    # What claims a sum, or needs no map, looks at the last layer that everything goes through.
    mapped = [c for c in cuts if c.layout and c.reaches] or cuts
    last = tuple(c.path for c in mapped[-1:])
    return Wish(
        asked=AUTO,
        modules=choice.modules or last,
        cuts=last,
        reason=choice.reason,
        note=choice.note,
    )


def look_at(subject: Subject, graph: ModelGraph, wish: Wish) -> Look | None:
    """The outermost module meant that was seen to put out a tensor.

    Raises:
        UserError: If one that a person named puts out no floating tensor.
    """
    for path in wish.modules:
        out = subject.layers.get(path)
        if out is not None:
            look = _seen(subject, graph, path, tuple(out.shape), wish.note)
            other = next((p for p in wish.cuts if p in subject.layers), "")
            if look.cut or not other:
                return look
            shape = tuple(subject.layers[other].shape)
            return replace(look, instead=_seen(subject, graph, other, shape, ""))
    if wish.asked != AUTO:
        raise UserError(
            f"module {wish.asked!r} gives no floating tensor: give another module, or auto"
        )
    return None


def _seen(
    subject: Subject, graph: ModelGraph, path: str, shape: tuple[int, ...], note: str
) -> Look:
    op, output = output_of_module(graph, path), main_output(graph)
    cut = False
    if op is not None and output is not None:
        sources = [OpId(source) for source in subject.sources]
        if subject.embedding:
            sources = [o.id for o in graph.ops if o.module == subject.embedding]
        cut = op in cuts_of(graph, output.src, inputs=sources)
    return Look(
        path=path,
        shape=shape,
        layout=layout_at(graph, path),
        channels_first=len(shape) != 3 or (op is not None and _channels_first(graph, op)),
        cut=cut,
        note=note,
    )


def _channels_first(graph: ModelGraph, start: OpId) -> bool:
    """Whether an output of three axes has its channels before its steps."""
    first, op = True, graph[start]
    while op.kind not in _CHANNELS_FIRST:
        if op.kind in _CHANNELS_LAST:
            return not first
        if op.kind in ("transpose", "permute", "movedim", "swapaxes"):
            first = not first
        operands = [graph[e.src] for e in graph.edges_in(op.id)]
        alike = [o for o in operands if len(o.shape) == 3]
        if not alike:
            return False
        op = alike[0]
    return first


def misfit(subject: Subject, method: Method, look: Look | None) -> str:
    """Why a method cannot be told samples or places apart here; empty where it can."""
    if subject.axis != 0 and (method.needs_layer or method.in_pairs):
        return (
            "samples are not in front, so that what goes on inside cannot be told apart by them; "
            "use integrated_gradients"
        )
    if not method.needs_layer:
        return ""
    if look is None:
        return "no module was found to look at: name a layer, or use integrated_gradients"
    gives = f"module {look.path!r} gives {shape_text(look.shape)}"
    if look.shape[:1] != (subject.samples,):
        return f"{gives}, not one row per sample"
    if method.folds_channels and (len(look.places) == 0 or math.prod(look.places) < 2):
        return f"{gives}, not channels at several places"
    if method.folds_channels and not method.at_layer:
        flat = [
            name
            for name, tensor in zip(subject.names, subject.inputs, strict=True)
            if tensor.ndim != 2 + len(look.places)
        ]
        if flat:
            return f"no map of {look.path!r} can be laid over {listed(flat)}; use layer_grad_cam"
    return ""


@contextmanager
def standing_after(model: nn.Module, look: Look, *, channels_first: bool) -> Iterator[nn.Module]:
    """Within it the module given puts out what the layer does, and feeds what comes after it."""
    stand_in = nn.Identity()

    def hook(_module: nn.Module, _args: Any, out: Any) -> Any:
        tensor, put = first_tensor(out)
        if tensor is None:
            return None
        shown = look.standing(tensor) if channels_first else tensor
        seen = stand_in(shown)
        # A clone: captum's own tensors are leaves, and the model may write into what it gets.
        return put(seen.clone() if shown is tensor else look.lying(seen, tensor))

    handle = model.get_submodule(look.path).register_forward_hook(hook)
    try:
        yield stand_in
    finally:
        handle.remove()
