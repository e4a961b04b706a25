"""The maps of several stages and their gradients, from one forward and one backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from resnet_viz.core.graph import OpId
from resnet_viz.measuring.attributions.stages.spots import Spot
from resnet_viz.measuring.autograd_graph import NodeMap
from resnet_viz.tracing.walk import Function, Walk


class Glimpses:
    """Looks at spots while a forward runs; see ``relevance.watching.Seeing``.

    Attributes:
        maps: Of every spot that ran, ``(N, C, h, w)``, without gradient.
        gradients: Of the score by these maps, once ``listening`` through a backward.
        centres: Sum of each map's channels at its central place, each with a sign drawn at
            random: the start of a backward.
        listening: Whether gradients that come by are kept.
    """

    def __init__(self, spots: Sequence[Spot], seed: int) -> None:
        """Has seen nothing yet.

        Args:
            spots: What to look at.
            seed: Of the signs.
        """
        self._draws = torch.Generator().manual_seed(seed)
        self._layouts = {spot.op: spot.layout for spot in spots}
        self.maps: dict[OpId, Tensor] = {}
        self.gradients: dict[OpId, Tensor] = {}
        self.centres: dict[OpId, Tensor] = {}
        self.listening = True

    def entering(self, op: OpId, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Nothing to see yet."""

    def called(
        self,
        op: OpId,
        _walk: Walk,
        _func: Function,
        _args: tuple[Any, ...],
        _kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """Takes a spot's output before a later call can write into it."""
        layout = self._layouts.get(op)
        if layout is None or not outputs or not outputs[0].requires_grad:
            return
        made = layout.to_map(outputs[0])
        self.maps[op] = _readable(made).clone()
        height, width = made.shape[-2:]
        # Without signs nothing would be left of a layer norm's output: its channels sum to 0.
        signs = torch.randint(2, (made.shape[1],), generator=self._draws, device="cpu") * 2 - 1
        middle = made[:, :, height // 2, width // 2]
        self.centres[op] = (middle * signs.to(middle)).sum()
        outputs[0].register_hook(self._keep(op, layout.to_map))  # type: ignore[no-untyped-call]

    def ended(self, nodes: NodeMap) -> None:
        """Nothing is left to see."""

    def _keep(self, op: OpId, to_map: Callable[[Tensor], Tensor]) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            if self.listening:
                self.gradients[op] = _readable(to_map(gradient))

        return hook


def _readable(tensor: Tensor) -> Tensor:
    """Without gradient, in no less than float32."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))
