"""What the structure of a graph is: skips, blocks, stages and costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from resnet_viz.core.graph import OpId

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
            gate), projection (one linear parameterised op), gate (``mul``),
            concat (``cat``).
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
class Cost:
    """Costs of one thing at the traced batch size.

    Attributes:
        key: An ``OpId``, a module path, a block's join or a stage's name.
        params: Distinct parameter scalars first read here.
        macs: Multiply-accumulates of one forward; 1 MAC = 2 FLOPs.
        activation_bytes: Bytes of the outputs it allocates.
        uncounted: Ops in it whose MACs are not known.
    """

    key: str
    params: int
    macs: int
    activation_bytes: int
    uncounted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The same totals, added up four ways.

    Rows of ``ops``, ``blocks`` and ``stages`` are exclusive: each column sums to
    ``total``. A block row holds the ops whose innermost block it is; the row with an
    empty key holds those outside any block. Rows of ``modules`` are inclusive: each
    holds everything below its path, and the root's (empty path) is ``total``.
    """

    total: Cost
    ops: tuple[Cost, ...]
    modules: tuple[Cost, ...]
    blocks: tuple[Cost, ...]
    stages: tuple[Cost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """Everything ``annotate`` finds in a graph."""

    skips: tuple[Skip, ...]
    blocks: tuple[Block, ...]
    stages: tuple[Stage, ...]
    costs: Costs

    def blocks_of(self, kind: BlockKind) -> tuple[Block, ...]:
        """The blocks of this kind, in order."""
        return tuple(block for block in self.blocks if block.kind == kind)

    def skips_of(self, kind: SkipKind) -> tuple[Skip, ...]:
        """The skips of this kind, in order."""
        return tuple(skip for skip in self.skips if skip.kind == kind)

    def block_of(self) -> dict[OpId, Block]:
        """The innermost block of each op that is in one."""
        return innermost(self.blocks)

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
