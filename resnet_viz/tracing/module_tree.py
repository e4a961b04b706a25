"""Every module of a model with all its paths: walked once per trace, without recursion.

``nn.Module.named_modules`` recurses, at a cost quadratic in the depth, and with
duplicates never ends on a model whose child registers its parent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


class ModuleTree:
    """A model's registered modules.

    Attributes:
        entries: ``(path, module)`` in the order of registration, parents first; a
            shared module once per path.
    """

    def __init__(self, model: nn.Module) -> None:
        self.entries: list[tuple[str, nn.Module]] = [("", model)]
        entries, above = self.entries, [model]
        around = {model}
        todo: list[Iterator[tuple[str, nn.Module | None]]] = [iter(model._modules.items())]
        prefixes = [""]
        while todo:
            for key, module in todo[-1]:
                # A child that registers its own parent would lead round for ever.
                if module is None or (module._modules and module in around):
                    continue
                path = prefixes[-1] + key
                entries.append((path, module))
                if module._modules:
                    todo.append(iter(module._modules.items()))
                    prefixes.append(path + ".")
                    above.append(module)
                    around.add(module)
                    break
            else:
                todo.pop()
                prefixes.pop()
                around.discard(above.pop())

    def paths(self) -> dict[nn.Module, list[str]]:
        """All paths of each distinct module, the first one first."""
        paths: dict[nn.Module, list[str]] = {}
        for path, module in self.entries:
            paths.setdefault(module, []).append(path)
        return paths

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter under every name."""
        return self._tensors("_parameters")

    def buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Every buffer under every name."""
        return self._tensors("_buffers")

    def _tensors(self, registry: str) -> Iterator[tuple[str, Any]]:
        for path, module in self.entries:
            held = module.__dict__.get(registry)
            if held:
                prefix = f"{path}." if path else ""
                for key, tensor in held.items():
                    if tensor is not None:
                        yield prefix + key, tensor
