"""``Proof``: what was checked before a graph may be called faithful, or why it could not be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnet_viz.core.message import Message, say
from resnet_viz.core.units import count


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The outcome of ``rv.verify``: for this model, this input and this mode.

    An unfaithful graph has no proof: ``UnfaithfulError`` is raised.

    Attributes:
        verdict: ``verified``: every check passed. ``refused``: a replay cannot follow
            this forward; ``reason`` says why, and nothing below was counted.
        reason: Why it was refused, in one line.
        mode: Train or eval mode of the forward.
        ops: Ops that were replayed.
        calls: Calls that were replayed: the ops, and bookkeeping that is none
            (``num_batches_tracked.add_``, casts that keep the dtype).
        kernels: Kernels that the forward ran; each belongs to one of the calls.
        outputs: Tensors that ``forward`` returned, each equal bit for bit.
        state: Parameters, buffers and other tensors of the model, each left with the
            same bits by the replay as by the forward.
        scalars: Numbers that were compared in ``outputs`` and in what ``state`` changed.
        edges: Edges of the graph; each is a flow of data through memory, and no flow
            between ops lacks one.
        params: Scalars of distinct parameters, added up by tensor identity.
        macs: Multiply-accumulates, added up over the ops.
        macs_by: ``model``: equal to half of torch's ``FlopCounterMode`` over the whole
            forward on meta. ``op``: the forward does not run there, or some ops have no
            formula, and each counted op was counted again by itself.
    """

    verdict: Literal["verified", "refused"]
    reason: str = ""
    mode: Literal["train", "eval"] = "eval"
    ops: int = 0
    calls: int = 0
    kernels: int = 0
    outputs: int = 0
    state: int = 0
    scalars: int = 0
    edges: int = 0
    params: int = 0
    macs: int = 0
    macs_by: Literal["model", "op"] = "model"

    @property
    def sentence(self) -> Message:
        """The verdict and what stands behind it, in one line."""
        if self.verdict == "refused":
            return say("refused: {why}", why=self.reason)
        return say(
            "verified in {mode} mode: traced again and equal; {ops} replayed to the same bits as "
            "the forward ({outputs}, {numbers}); each of its {kernels} belongs to a recorded call",
            mode=self.mode,
            ops=count(self.ops, "op"),
            outputs=count(self.outputs, "output"),
            numbers=count(self.scalars, "number"),
            kernels=count(self.kernels, "kernel"),
        )
