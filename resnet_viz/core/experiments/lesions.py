"""What became of a net's answers with blocks deleted or permuted at test time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from resnet_viz.core.experiments.common import Result
from resnet_viz.core.report import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One net with something done to its blocks, run on the whole of the data.

    Attributes:
        kind: ``delete`` (some blocks become their shortcut; in a plain net the identity)
            or ``permute`` (blocks of equal shape change places within their stage).
        blocks: Names of the blocks concerned. Those that a permutation moved stand in
            their new order: the first takes the foremost place of them all.
        draw: Which of several random choices of the same size this is.
        tau: Kendall's rank correlation between the old and the new order; ``None`` for
            deletions.
        loss: Mean cross entropy.
        error: Fraction of wrong answers.
    """

    kind: Literal["delete", "permute"]
    blocks: tuple[str, ...]
    draw: int = 0
    tau: float | None = None
    loss: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionStudy(Result):
    """Lesions of one net at test time (Veit et al. 2016, 1605.06431, section 4).

    Attributes:
        model: Name of the net.
        data: What it was tested on, in words.
        samples: Number of samples.
        classes: Number of classes; guessing errs in ``1 - 1 / classes``.
        blocks: All blocks that can be deleted, in forward order: each by its module's
            path, or by the id of its join where the module holds several.
        changing: Those of them that change resolution or channels.
        loss: Of the whole net.
        error: Likewise.
        lesions: What was tried: each single block, growing random sets of those that are
            not ``changing``, permutations.
        left_out: Blocks that cannot be deleted or moved, each with its reason.
        seed: Of the random choices.
        provenance: Where it all comes from.
    """

    model: str
    data: str
    samples: int
    classes: int
    blocks: tuple[str, ...]
    changing: tuple[str, ...] = ()
    loss: float
    error: float
    lesions: tuple[Lesion, ...]
    left_out: tuple[str, ...] = ()
    seed: int = 0
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def single(self) -> tuple[Lesion, ...]:
        """The lesions that delete one block, in forward order."""
        return tuple(x for x in self.lesions if x.kind == "delete" and len(x.blocks) == 1)

    @property
    def several(self) -> tuple[Lesion, ...]:
        """The lesions that delete more than one block."""
        return tuple(x for x in self.lesions if x.kind == "delete" and len(x.blocks) > 1)

    @property
    def permuted(self) -> tuple[Lesion, ...]:
        """The lesions that permute blocks."""
        return tuple(x for x in self.lesions if x.kind == "permute")
