"""What a residual network is made of: blocks, skips, identity mappings, bottlenecks, paths."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from resnet_viz.core.message import Message, join, say, say_n, sentences
from resnet_viz.core.structure import Skip
from resnet_viz.core.terms import word
from resnet_viz.core.units import percent, si
from resnet_viz.reporting.explain.note import Note, note, power, raised
from resnet_viz.reporting.explain.papers import HE_2015, HE_2016, HUANG_2016, VEIT_2016
from resnet_viz.reporting.page.tables import Facts
from resnet_viz.reporting.wording import block_widths

_ADDITIVE = ("identity", "projection", "scaled")


def residual_block(facts: Facts) -> Note | None:
    """H(x) = F(x) + x: only what must be added to the input is learnt."""
    found = _additive(facts)
    if not found:
        return None
    plain = sum(skip.kind == "identity" for skip in found)
    example = next((skip for skip in found if skip.kind == "identity"), found[0])
    block = facts.block_at.get(example.id)
    name = facts.graph.name
    return note(
        "residual",
        say("The residual block"),
        "H(x) = F(x) + x",
        say(
            "A block does not have to learn the whole mapping H(x) it should compute, only what "
            "must be added to its input: the residual F(x) = H(x) − x. If nothing needs to "
            "change, pushing F towards zero is easy; teaching several nonlinear layers to copy "
            "their input is not. Where shapes differ, the shortcut needs a projection: "
            "H(x) = F(x) + W·x."
        ),
        sentences(
            say_n("{model} adds at {n} place.", "{model} adds at {n} places.", len(found),
                  model=name),
            say_n("At {n} of them x is handed on unchanged.",
                  "At {n} of them x is handed on unchanged.", plain)
            if plain else None,
            say_n("At {n} it is projected or scaled first.",
                  "At {n} it is projected or scaled first.", len(found) - plain)
            if plain < len(found) else None,
            say("In {module}, for example, F is {branch}.", module=block.module,
                branch=block_widths(block))
            if block is not None and block.widths else None,
        ),
        HE_2015,
    )  # fmt: skip


def skips(facts: Facts) -> Note | None:
    """What a skip is, which kinds there are, and what comes back over them."""
    found = facts.structure.skips
    if not found:
        return None
    kinds: Counter[str] = Counter(skip.kind for skip in found)
    longest = max(found, key=lambda skip: len(skip.branch))
    flow = facts.flow
    shares = {s.id: share for s in found if flow and (share := flow.share_of(s)) is not None}
    measured = None
    if shares:
        low, high = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
        ends = {s.id: facts.name(s.join) for s in found}
        measured = say(
            "Measured here, the shortcut brings back between {low} (at {low_at}) and {high} "
            "(at {high_at}) of its fork's gradient.",
            low=percent(shares[low]), low_at=ends[low], high=percent(shares[high]),
            high_at=ends[high],
        )  # fmt: skip
    return note(
        "skip",
        say("The skip connection"),
        "x ─┬─ F ─⊕─ H(x)",
        say(
            "A skip leaves the main way at a fork, goes around some layers, the branch, and "
            "meets them again at a join. Forward it carries the input past what the branch does "
            "to it; backward it is a second way home for the gradient, which parts at the join "
            "and is summed at the fork. What happens on it tells the kinds apart: nothing "
            "(identity), a 1×1 convolution or pooling (projection), a factor (scaled), a "
            "product (gate), or being laid beside the branch (concatenation, as in DenseNet "
            "and U-Net) in place of being added."
        ),
        sentences(
            say_n("{model} has {n} skip: {kinds}.", "{model} has {n} skips: {kinds}.",
                  len(found), model=facts.graph.name, kinds=_kinds(kinds)),
            say_n("The longest, into {join}, goes around {n} op.",
                  "The longest, into {join}, goes around {n} ops.", len(longest.branch),
                  join=facts.name(longest.join)),
            measured,
        ),
        HE_2015 if "concat" not in kinds else f"{HE_2015}; {HUANG_2016}",
    )  # fmt: skip


def identity(facts: Facts) -> Note | None:
    """Why the shortcut should be the identity."""
    found = facts.structure.skips_of("identity")
    if not found:
        return None
    n, flow = len(found), facts.flow
    shares = [s for skip in found if flow and (s := flow.share_of(skip)) is not None]
    return note(
        "identity",
        say("Why the shortcut should be the identity"),
        "∂L/∂x₀ = ∂L/∂xₙ · (1 + ∂/∂x₀ Σ F)",
        say(
            "Along identity shortcuts a signal is only added to, never multiplied. Backward, the "
            "1 in the formula is a path on which the gradient of the last block reaches the first "
            "one as it is. A factor λ on every shortcut would turn that 1 into λⁿ. (The formula "
            "holds exactly for pre-activation blocks; a ReLU after the addition masks both "
            "terms.)"
        ),
        sentences(
            say_n("With the {n} identity skip of {model}, a factor of 0.9 per skip would leave "
                  "{power} of that path's gradient.",
                  "With the {n} identity skips of {model}, a factor of 0.9 per skip would leave "
                  "{power} of that path's gradient.", n, model=facts.graph.name,
                  power=f"0.9{raised(n)} = {power(0.9, n)}"),
            say("Measured here, identity skips carry {low} to {high} of the gradient at their "
                "forks.", low=percent(min(shares)), high=percent(max(shares)))
            if shares else None,
        ),
        HE_2016,
    )  # fmt: skip


def bottleneck(facts: Facts) -> Note | None:
    """1×1 down, 3×3, 1×1 up: why depth is affordable."""
    found = [b for b in facts.structure.blocks_of("bottleneck") if b.widths]
    if not found:
        return None
    block = next((b for b in found if b.skip.kind == "identity"), found[0])
    width, branch = block.widths[-1], set(block.skip.branch)
    own = sum(op.params for op in facts.weighted if op.id in branch)
    wide = 2 * 9 * width * width
    return note(
        "bottleneck",
        say("The bottleneck"),
        "1×1 ▷ 3×3 ◁ 1×1",
        say(
            "A first 1×1 convolution narrows the feature maps, the expensive 3×3 convolution "
            "works on few channels, a last 1×1 convolution widens them again. That makes deep "
            "networks affordable. The skip joins the wide ends, so the shortcut itself never "
            "narrows."
        ),
        sentences(
            say_n("{model} has {n} bottleneck block.", "{model} has {n} bottleneck blocks.",
                  len(found), model=facts.graph.name),
            say("{module} runs {branch} and needs {own} weights; two 3×3 convolutions at its "
                "full width of {width} channels would need {wide}, {times} times as many.",
                module=block.module, branch=block_widths(block), own=si(own), width=width,
                wide=si(wide), times=f"{wide / own:.0f}")
            if own else None,
            say("Its squeeze is {squeeze}: the narrowest width over the width at the join.",
                squeeze=f"{block.squeeze:.3g}"),
        ),
        HE_2015,
    )  # fmt: skip


def paths(facts: Facts) -> Note | None:
    """A residual network as the sum over all its paths."""
    found = _additive(facts)
    if len(found) < 2 or len(found) != len(facts.structure.skips) or not _in_a_row(facts, found):
        return None
    n = len(found)
    return note(
        "paths",
        say("Many paths of different lengths"),
        "n ⇒ 2ⁿ",
        say(
            "At every block the signal may take the branch or the shortcut. Written out, a "
            "residual network is a sum over all these choices. Few of the paths are long: the "
            "number of blocks a path runs through follows a binomial distribution around n/2."
        ),
        say(
            "The {n} skips of {model} follow one another, so there are {number} paths from input "
            "to output; a typical one runs through {typical} of the {n} branches.",
            n=n, model=facts.graph.name, typical=f"{n / 2:g}",
            number=f"2{raised(n)} = {f'{2**n:,}' if n <= 40 else power(2, n)}",
        ),
        VEIT_2016,
    )  # fmt: skip


def _kinds(kinds: Counter[str]) -> Message:
    return join(", ", [say("{n} {kind}", n=n, kind=word(kind)) for kind, n in kinds.most_common()])


def _additive(facts: Facts) -> tuple[Skip, ...]:
    return tuple(skip for skip in facts.structure.skips if skip.kind in _ADDITIVE)


def _in_a_row(facts: Facts, found: tuple[Skip, ...]) -> bool:
    """Whether each skip begins at or after the join of the one before it."""
    ends = sorted((facts.graph.position(s.fork), facts.graph.position(s.join)) for s in found)
    return all(a[1] <= b[0] for a, b in pairwise(ends))
