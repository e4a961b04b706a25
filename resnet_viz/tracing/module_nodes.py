"""The modules of a graph: their parameters and buffers by identity, how often they ran."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from resnet_viz.core.graph import ModuleNode, ParameterSpec
from resnet_viz.tracing.module_tree import ModuleTree
from resnet_viz.tracing.recorder import spec_of
from resnet_viz.tracing.walk import Walk


def module_nodes(tree: ModuleTree, walk: Walk, used: set[str]) -> Iterator[ModuleNode]:
    """One node per distinct module, root first, then those that nobody registered.

    Args:
        tree: The model after the forward: lazy layers have their shapes by then.
        walk: Knows how often each module ran, and the unregistered ones.
        used: Names of the parameters that some op read.
    """
    paths = tree.paths()
    for path, module in walk.strangers.items():
        paths.setdefault(module, [path])
    parameters = _specs(tree.parameters(), used)
    buffers = _specs(tree.buffers(), None)
    for module, (path, *aliases) in paths.items():
        prefix = f"{path}." if path else ""
        yield ModuleNode(
            path=path,
            type_name=type(module).__name__,
            children=tuple(
                [prefix + key for key, one in module._modules.items() if one is not None]
            ),
            parameters=_own(parameters, prefix),
            buffers=_own(buffers, prefix),
            calls=walk.calls.get(path, 0),
            aliases=tuple(aliases),
        )


def _specs(
    named: Iterator[tuple[str, Tensor]], used: set[str] | None
) -> dict[str, list[ParameterSpec]]:
    """Distinct tensors by the prefix of their first name."""
    names: dict[int, tuple[Tensor, list[str]]] = {}
    for key, tensor in named:
        names.setdefault(id(tensor), (tensor, []))[1].append(key)
    by_prefix: dict[str, list[ParameterSpec]] = {}
    for tensor, (first, *aliases) in names.values():
        head, dot, _ = first.rpartition(".")
        spec = ParameterSpec(
            name=first,
            spec=spec_of(tensor),
            trainable=tensor.requires_grad,
            used=used is None or first in used,
            aliases=tuple(aliases),
        )
        by_prefix.setdefault(head + dot, []).append(spec)
    return by_prefix


def _own(specs: dict[str, list[ParameterSpec]], prefix: str) -> tuple[ParameterSpec, ...]:
    return tuple(specs.get(prefix, ()))
