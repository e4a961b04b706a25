"""What the structure of a graph is: skips, blocks, stages, costs and memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from resnet_viz.core.graph import How, OpId

if TYPE_CHECKING:
    from resnet_viz.core.records import StructureTable

SkipKind = Literal["identity", "scaled", "projection", "gate", "concat"]
SKIP_KINDS: tuple[SkipKind, ...] = ("identity", "projection", "scaled", "gate", "concat")

BlockKind = Literal[
    "attention", "mlp", "dense", "inverted bottleneck", "bottleneck", "basic", "other"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A way past a branch: from ``fork`` to ``join``.

    Attributes:
        fork: The op (or input) whose value takes both ways: the immediate
            dominator of the join.
        join: The ``add``, ``mul`` or ``cat`` where the ways meet.
        kind: identity (the fork itself, also when only viewed, subsampled,
            zero-padded or dropped out), scaled (the fork times a constant or a
            gate), projection (at most one linear parameterised op, and one depthwise
            convolution beside it), gate (``mul``), concat (``cat``).
        branch: Ops of the residual branch F(x), in order.
        shortcut: Ops on the shortcut S(x), in order; empty for a plain identity.
    """

    fork: OpId
    join: OpId
    kind: SkipKind
    branch: tuple[OpId, ...]
    shortcut: tuple[OpId, ...] = ()

    @property
    def id(self) -> str:
        """One text for the pair, used as a key in pages and files."""
        return f"{self.fork}->{self.join}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A unit of the network, found from structure and never from class names.

    Attributes:
        kind: What it is.
        preactivation: Whether norm and activation come before the first weights
            and nothing follows the join (He et al. 2016).
        module: Path of the smallest module that holds all its ops.
        ops: Its ops in order, join and the activation after it included.
        skip: The skip around it.
        squeeze: Smallest number of channels along the branch over the channels at
            the join, nested gates left out; below 1 the block narrows.
        widths: Output channels of the branch's parameterised ops, in order.
        kernels: Their spatial kernel sizes (1 for a linear op), in the same order.
    """

    kind: BlockKind
    preactivation: bool = False
    module: str
    ops: tuple[OpId, ...]
    skip: Skip
    squeeze: float
    widths: tuple[int, ...] = ()
    kernels: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """The kind in words: ``pre-activation bottleneck``."""
        return f"pre-activation {self.kind}" if self.preactivation else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A run of ops that work at one resolution.

    Attributes:
        name: The longest module path they share, or ``stage k``.
        ops: Its ops, in order.
        resolution: Spatial size of its feature maps; empty for no spatial axes.
        blocks: How many blocks it holds.
    """

    name: str
    ops: tuple[OpId, ...]
    resolution: tuple[int, ...]
    blocks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Equal parts of the network, one after the other: each one's output feeds the next.

    Equal are kinds and arguments of all ops, shapes and dtypes of all tensors and
    parameters, what is frozen, MACs, and the wiring inside, between and around them.
    Names and class names play no part.

    Attributes:
        copies: The ops of each copy, in order; all copies are equally long.
        modules: Per copy the path of the smallest module that holds it.
        shared: Parameters that every copy reads (one module called again and again);
            empty where each copy has its own.
    """

    copies: tuple[tuple[OpId, ...], ...]
    modules: tuple[str, ...]
    shared: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many copies there are; at least 2."""
        return len(self.copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedTensor:
    """Memory that autograd keeps from the forward for the backward.

    Attributes:
        op: The first op whose backward wants it.
        nbytes: Bytes of whole storages: a saved view keeps all of what it views.
        made_by: The op whose output it is; empty for what no op returned (statistics
            of a norm, masks, indices, copies inside a kernel).
    """

    op: OpId
    nbytes: int
    made_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the backward of one forward keeps: measured, see ``tracing.memory``.

    Attributes:
        mode: Train or eval mode of the forward; the two keep different tensors.
        how: meta or fake, and why; not part of equality.
        saved: Every storage once, at the first op that saves it. Parameters, buffers
            and inputs are not in it: they are there with or without a backward.
        input_bytes: Bytes of the inputs that the backward needs as well.
        gradient_bytes: Bytes of the trainable parameters that it reads, so of their
            gradients.
        hidden: Calls whose saved tensors went elsewhere (activation checkpointing,
            offloading): the backward computes or fetches them again.
        unknown: Why nothing was measured, in one line; empty where it was.
    """

    mode: Literal["train", "eval"]
    how: How = field(default=How(mode="meta"), compare=False)
    saved: tuple[SavedTensor, ...] = ()
    input_bytes: int = 0
    gradient_bytes: int = 0
    hidden: int = 0
    unknown: str = ""

    @property
    def saved_bytes(self) -> int | None:
        """Bytes kept for the backward; ``None`` where not measured."""
        return None if self.unknown else sum(row.nbytes for row in self.saved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The largest memory in use at once, in bytes: an estimate from tensors' lifetimes.

    Without allocator fragmentation, workspaces of kernels and state of an optimizer.

    Attributes:
        at: The op during which it is reached.
        phase: In the forward or in the backward.
        params: Of all parameters.
        buffers: Of all buffers.
        inputs: Of what was given to ``forward``, which the caller holds.
        gradients: Of parameters, as far as the backward has come.
        saved: Kept for the backward and not yet given back.
        working: All other activations, and the gradients of activations.
    """

    at: str = ""
    phase: Literal["forward", "backward"] = "forward"
    params: int = 0
    buffers: int = 0
    inputs: int = 0
    gradients: int = 0
    saved: int = 0
    working: int = 0

    @property
    def total(self) -> int:
        """Everything that is in memory at that moment."""
        state = self.params + self.buffers + self.inputs
        return state + self.gradients + self.saved + self.working


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Costs of one thing at the traced batch size.

    Attributes:
        key: An ``OpId``, a module path, a block's join, a stage's name or a kind.
        params: Distinct parameter scalars first read here.
        macs: Multiply-accumulates of one forward; 1 MAC = 2 FLOPs.
        activation_bytes: Bytes of the outputs it allocates.
        uncounted: Ops in it whose MACs are not known.
        trainable: Of ``params``, those with ``requires_grad``.
        param_bytes: Bytes of ``params``.
        buffers: Distinct buffer scalars first read here.
        buffer_bytes: Bytes of ``buffers``.
        saved_bytes: Bytes first kept here for the backward (see ``Memory``); ``None``
            where not measured.
    """

    key: str
    params: int
    macs: int
    activation_bytes: int
    uncounted: int = 0
    trainable: int = 0
    param_bytes: int = 0
    buffers: int = 0
    buffer_bytes: int = 0
    saved_bytes: int | None = None

    @property
    def flops(self) -> int:
        """Floating-point operations as torch's ``FlopCounterMode`` counts them: 2 per MAC."""
        return 2 * self.macs


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The same totals, added up five ways.

    Rows of ``ops``, ``blocks``, ``stages`` and ``kinds`` are exclusive: each column sums
    to ``total``. A block row holds the ops whose innermost block it is; the row with an
    empty key holds those outside any block. Rows of ``modules`` are inclusive: each
    holds everything below its path, and the root's (empty path) is ``total``.

    Attributes:
        total: What the ops cost. Parameters and buffers that no op reads are not in it.
        ops: One row per call.
        modules: One row per module.
        blocks: One row per block, and one for the rest.
        stages: One row per stage.
        kinds: One row per kind of op.
        memory: What was measured of the backward; ``None`` where nobody asked.
        unplaced_bytes: Of ``memory``, what calls save that are not in the graph: in
            train mode a forward may make other calls than the traced one.
        inference_peak: Largest memory of a forward without gradients.
        training_peak: Largest memory of forward and backward; ``None`` where ``memory``
            does not know what is saved.
    """

    total: Cost
    ops: tuple[Cost, ...]
    modules: tuple[Cost, ...]
    blocks: tuple[Cost, ...]
    stages: tuple[Cost, ...]
    kinds: tuple[Cost, ...] = ()
    memory: Memory | None = None
    unplaced_bytes: int = 0
    inference_peak: Peak | None = None
    training_peak: Peak | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """Everything ``annotate`` finds in a graph."""

    skips: tuple[Skip, ...]
    blocks: tuple[Block, ...]
    stages: tuple[Stage, ...]
    costs: Costs
    repeats: tuple[Repeat, ...] = ()

    def blocks_of(self, kind: BlockKind) -> tuple[Block, ...]:
        """The blocks of this kind, in order."""
        return tuple(block for block in self.blocks if block.kind == kind)

    def skips_of(self, kind: SkipKind) -> tuple[Skip, ...]:
        """The skips of this kind, in order."""
        return tuple(skip for skip in self.skips if skip.kind == kind)

    def block_of(self) -> dict[OpId, Block]:
        """The innermost block of each op that is in one."""
        return innermost(self.blocks)

    def to_records(self, table: StructureTable = "blocks") -> list[dict[str, object]]:
        """Flat dicts for ``pandas.DataFrame``.

        Args:
            table: ``blocks``, ``skips``, ``stages``, ``costs`` or ``repeats``; see
                ``core.records``.
        """
        from resnet_viz.core.records import structure_records

        return structure_records(self, table)

    def to_json(self) -> str:
        """Versioned JSON text."""
        from resnet_viz.core.schema import to_json

        return to_json(self)


def innermost(blocks: Iterable[Block]) -> dict[OpId, Block]:
    """The smallest block that holds each op; of equals the later one."""
    owner: dict[OpId, Block] = {}
    for block in sorted(blocks, key=lambda b: -len(b.ops)):
        owner.update(dict.fromkeys(block.ops, block))
    return owner
