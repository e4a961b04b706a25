"""Which known model a state dict fits, by names and shapes."""

from __future__ import annotations

import functools
import math
import shlex
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.closed_forms import closed_form
from resnet_viz.sources.family.key_maps import translated
from resnet_viz.sources.variants import VARIANTS, build
from resnet_viz.sources.weights import PREFIXES

_HEADS = ("fc.bias", "head.fc.bias", "last_linear.bias", "classifier.bias", "classifier.1.bias")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

Shapes = Mapping[str, tuple[int, ...]]


def recognised(shapes: Shapes) -> str:
    """The model to ask for, as the command line takes it; empty where none is known.

    A variant, with the names parameters have here or in timm or transformers, or else a
    torchvision model where that is installed; a head of another size is
    ``--arg num_classes=…``.
    """
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in shapes):
            shapes = {name.removeprefix(prefix): shape for name, shape in shapes.items()}
    params = sum(math.prod(s) for n, s in shapes.items() if not n.endswith(_STATISTICS))
    known = _variant(shapes, params)
    if known:
        return known
    for name, make in _torchvision(params):
        with torch.device("meta"):
            model = make()
        if _fits(model, shapes):
            return shlex.quote(name)
    return ""


def _variant(shapes: Shapes, params: int) -> str:
    classes = next((shapes[head][0] for head in _HEADS if shapes.get(head)), 0)
    for name, config in VARIANTS.items():
        options = {"num_classes": classes} if classes and classes != config.num_classes else {}
        changed = config.changed(**options)
        if closed_form(changed)[0] != params:
            continue
        with torch.device("meta"):
            model = build(changed)
            state = {key: torch.empty(shape) for key, shape in shapes.items()}
        here = translated(config, state)
        if _fits(model, {key: tuple(value.shape) for key, value in here.items()}):
            return name + (f" --arg num_classes={classes}" if options else "")
    return ""


def _torchvision(params: int) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    from resnet_viz.sources.libraries import import_library

    try:
        models = import_library("torchvision", "").models
    except UserError:
        return
    for name in models.list_models():
        family = list(models.get_model_weights(name))
        if family and family[0].meta.get("num_params") == params:
            yield f"torchvision:{name}", functools.partial(_model, name)


def _model(name: str) -> nn.Module:
    from resnet_viz.sources.libraries import torchvision_model

    return torchvision_model(name, {}, meta=True).model


def _fits(model: nn.Module, shapes: Shapes) -> bool:
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    # Old files have no counters of batches.
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    return own.keys() - counters <= shapes.keys() <= own.keys() and all(
        own[name] == shape for name, shape in shapes.items()
    )
