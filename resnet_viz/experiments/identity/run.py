"""``experiment identity``: F(x) = 0 gives H(x) = x, so more layers need not hurt.

He et al. 2015 argue that a deeper net can do no worse than a shallower one, because its
added layers could be identities; a residual block becomes one by setting its branch to
zero. Here that is done, and nothing is left to belief: the deep net equals the shallow one
in every bit, each silent block's Jacobian is the identity, and without shortcuts the same
weights let nothing through.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.identity import BlockMap, IdentityMapping, SilentForm
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.experiments.identity.checks import identity_checks
from resnet_viz.experiments.identity.jacobians import singular_values
from resnet_viz.experiments.identity.silencing import (
    How,
    Pair,
    Silencer,
    make_pair,
    pair_configs,
    plain_twin,
)
from resnet_viz.experiments.provenance import ran_on
from resnet_viz.experiments.workers import run_tasks
from resnet_viz.sources.datasets.load import load_data
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.seeding import seeded

# From where no ReLU is yet switched by the change.
_SCALES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0)
# Inputs of a block whose Jacobian is computed, at most: 1024 take a second each.
_ENTRIES = 1024
_QUICK_ENTRIES = 256
_FORMS: tuple[tuple[str, str, How], ...] = (
    ("basic", "original", "norm"),
    ("basic", "original", "convolution"),
    ("bottleneck", "original", "norm"),
    ("basic", "act_before_add", "norm"),
    ("basic", "act_only_preact", "norm"),
    ("basic", "preact", "convolution"),
    ("bottleneck", "preact", "convolution"),
    ("basic", "norm_after_add", "convolution"),
)


def run_identity(
    *,
    deep: str = "resnet56",
    shallow: str = "resnet20",
    samples: int = 64,
    seed: int = 0,
    quick: bool = False,
    data: str | Path = "digits",
    data_dir: str | Path | None = None,
    progress: Progress = SILENT,
) -> IdentityMapping:
    """The deep net with its extra blocks' branches at zero, beside the shallow net.

    The nets share every other weight; weights, norms' scales and running statistics are
    drawn at random. Global random generators are left as they were.

    Args:
        deep: A residual variant of ``rv.build``.
        shallow: The same with fewer blocks per stage.
        samples: Images compared, from the test part of the data.
        seed: Of weights and of the blocks' inputs.
        quick: At most 16 images and smaller Jacobians.
        data: As ``load_data`` takes it.
        data_dir: Likewise.
        progress: Told of every block and every form of block.

    Returns:
        What was found. It is worked out in a process of its own, with one thread: nets as
        small as these are many times slower with more.

    Raises:
        UserError: If the variants are no such pair, or the data cannot be had.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise UserError(f"samples={samples!r} was given: give 2 or more")
    configs = pair_configs(deep, shallow)
    images = load_data(data, data_dir)
    inputs = images.ready(images.test.pixels[: min(samples, 16) if quick else samples])
    more, fewer = (
        config.changed(
            in_channels=inputs.shape[1],
            num_classes=images.about.classes,
            # What is random in train mode would differ between any two nets.
            dropout=0.0,
            stochastic_depth=0.0,
        )
        for config in configs
    )
    job = Job(
        more=more,
        fewer=fewer,
        inputs=inputs,
        entries=_QUICK_ENTRIES if quick else _ENTRIES,
        seed=seed,
    )
    name = f"{deep} and {shallow}"
    progress.start("comparing nets block by block", sum(more.blocks) + len(_FORMS))
    (found,) = run_tasks(compare, [job], [name], progress.advance)
    progress.finish()
    found = replace(
        found,
        deep=deep,
        shallow=shallow,
        provenance=ran_on(
            data=f"{len(inputs)} test images of {images.about.name}",
            device="cpu",
            seed=seed,
            model=name,
        ),
    )
    return replace(found, checks=tuple(identity_checks(found)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """What a worker process needs.

    Attributes:
        more: Config of the deep net.
        fewer: Config of the shallow one.
        inputs: ``(N, C, H, W)``.
        entries: Of a block's input, at most, where its Jacobian is computed.
        seed: Of weights and of the blocks' inputs.
    """

    more: ResNetConfig
    fewer: ResNetConfig
    inputs: Tensor
    entries: int
    seed: int


def compare(job: Job, name: str, advance: Callable[[int], None]) -> IdentityMapping:
    """Everything but the checks; runs in a process of its own, with one thread."""
    inputs = job.inputs
    with seeded(job.seed), torch.no_grad():
        pair = make_pair(job.more, job.fewer, inputs)
        perturbed = _perturbed(pair, inputs)
        silencer = Silencer(pair)
        silencer.scale(0)
        plain_difference, plain_spread = _without_shortcuts(pair, inputs)
        blocks = tuple(_blocks(pair, inputs, job.entries, advance))
        forms = tuple(_forms(job, advance))
        return IdentityMapping(
            deep=name,
            shallow=name,
            silenced=silencer.words,
            copied=pair.copied,
            extra=pair.added,
            samples=len(inputs),
            difference=_largest(pair.deep(inputs) - pair.shallow(inputs)),
            plain_difference=plain_difference,
            plain_spread=plain_spread,
            perturbed=perturbed,
            blocks=blocks,
            forms=forms,
            seed=job.seed,
        )


def _without_shortcuts(pair: Pair, inputs: Tensor) -> tuple[float | None, float | None]:
    """Largest difference of deep and shallow, and of two answers of the deep net."""
    try:
        plain = plain_twin(pair)
    except UserError:
        return None, None  # NF nets, for one, have no plain twin.
    logits = plain.deep(inputs)
    spread = logits.amax(0) - logits.amin(0)
    return _largest(logits - plain.shallow(inputs)), _largest(spread)


def _perturbed(pair: Pair, inputs: Tensor) -> tuple[tuple[float, float], ...]:
    # In float64: float32 cannot tell the smallest changes of the logits.
    loud = replace(pair, deep=copy.deepcopy(pair.deep).double())
    silencer, wide = Silencer(loud), inputs.double()
    silencer.scale(0)
    silent = loud.deep(wide)
    pairs = []
    for scale in _SCALES:
        silencer.scale(scale)
        change = (loud.deep(wide) - silent).norm() / silent.norm()
        pairs.append((scale, float(change)))
    return tuple(pairs)


def _blocks(
    pair: Pair, inputs: Tensor, entries: int, advance: Callable[[int], None]
) -> Iterator[BlockMap]:
    found = list(pair.blocks())
    shapes = _input_shapes([block for *_, block in found], pair.deep, inputs[:1])
    for (stage, index, path, block), shape in zip(found, shapes, strict=True):
        x = torch.randn(shape, dtype=torch.float64).abs()
        wide = copy.deepcopy(block).double()
        y = wide(x.clone())
        small = _cropped(x, entries)
        yield BlockMap(
            path=path,
            stage=stage,
            index=index,
            silent=path in pair.extra,
            difference=_largest(y - x) if y.shape == x.shape else None,
            singular_values=() if small is None else singular_values(wide, small),
        )
        advance(1)


def _input_shapes(blocks: list[nn.Module], net: nn.Module, x: Tensor) -> list[torch.Size]:
    shapes: list[torch.Size] = []
    handles = [
        block.register_forward_pre_hook(lambda _module, args: shapes.append(args[0].shape))
        for block in blocks
    ]
    try:
        net(x)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _cropped(x: Tensor, entries: int) -> Tensor | None:
    """The corner of a map that holds at most so many entries; ``None`` if one place has more."""
    side = int((entries / x.shape[1]) ** 0.5)
    return x[:, :, :side, :side] if side else None


def _forms(job: Job, advance: Callable[[int], None]) -> Iterator[SilentForm]:
    inputs = job.inputs
    for block, order, how in _FORMS:
        advance(1)
        if order == "norm_after_add" and job.more.norm == "none":
            continue  # Nothing comes after the addition that could be no identity.
        try:
            more, fewer = (c.changed(block=block, order=order) for c in (job.more, job.fewer))
        except UserError:
            continue  # Not every variant of the family comes in every order.
        pair = make_pair(more, fewer, inputs)
        silencer = Silencer(pair, how)
        silencer.scale(0)
        difference = _largest(pair.deep(inputs) - pair.shallow(inputs))
        positive, signed = _away_from_identity(pair, inputs)
        # Last: batch norm updates its statistics.
        training = pair.deep.train()(inputs) - pair.shallow.train()(inputs)
        yield SilentForm(
            block=block,
            order=order,
            silenced=silencer.words,
            difference=difference,
            train_difference=_largest(training),
            positive=positive,
            signed=signed,
        )


def _away_from_identity(pair: Pair, inputs: Tensor) -> tuple[float, float]:
    """Largest ``|H(x) - x|`` over the silent blocks, for x > 0 and for x of both signs."""
    silent = [pair.deep.get_submodule(path) for path in pair.extra]
    positive = signed = 0.0
    for block, shape in zip(silent, _input_shapes(silent, pair.deep, inputs[:1]), strict=True):
        x = torch.randn(shape)
        signed = max(signed, _largest(block(x.clone()) - x))
        x = x.abs()
        positive = max(positive, _largest(block(x.clone()) - x))
    return positive, signed


def _largest(differences: Tensor) -> float:
    return float(differences.abs().max())
