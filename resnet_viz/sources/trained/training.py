"""One net trained after its recipe, repeatably.

Bit for bit on the same torch and kind of processor, with one thread. Elsewhere sums are
rounded otherwise, and training lets the differences grow: the losses of the first steps
agree (tests allow 0.1 %), the trained weights need not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.sources.datasets.images import Images, Samples
from resnet_viz.sources.datasets.load import load_digits
from resnet_viz.sources.seeding import seeded
from resnet_viz.sources.trained.recipe import Recipe
from resnet_viz.sources.variants import VARIANTS, build


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """What training gave.

    Attributes:
        model: In eval mode.
        losses: Mean cross entropy of each step's batch.
    """

    model: nn.Module
    losses: tuple[float, ...]


def shown_as(images: Images, samples: Samples, side: int) -> Tensor:
    """Inputs of the net, ``(N, 1, side, side)``: as ``--data digits`` makes them."""
    ready = images.ready(samples.pixels)
    return F.interpolate(ready, size=(side, side), mode="bilinear", antialias=True)


def learn(
    recipe: Recipe, *, steps: int | None = None, tell: Callable[[int, float], None] | None = None
) -> Learned:
    """The net after its training, or after the first so many steps of it.

    Args:
        recipe: How; it alone and torch decide the result.
        steps: To stop after; all if ``None``.
        tell: Hears of the steps done and the last one's loss.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with seeded(recipe.seed):
            model = build(recipe.net)
        losses = []
        for loss in _steps(model, recipe):
            losses.append(loss)
            if tell is not None:
                tell(len(losses), loss)
            if len(losses) == steps:
                break
    finally:
        torch.set_num_threads(threads)
    return Learned(model=model.eval(), losses=tuple(losses))


def _steps(model: nn.Module, recipe: Recipe) -> Iterator[float]:
    """The loss of each step, after it is taken."""
    images = load_digits()
    inputs = shown_as(images, images.train, VARIANTS[recipe.net].side)
    labels = images.train.labels
    black = (0.0 - images.mean[0]) / images.std[0]
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    draws = torch.Generator().manual_seed(recipe.seed)
    size = recipe.batch_size
    per_epoch = len(inputs) // size
    model.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(inputs), generator=draws, device="cpu")
        for index in range(per_epoch):
            batch = order[index * size : (index + 1) * size]
            rate = recipe.rate(epoch * per_epoch + index, recipe.epochs * per_epoch)
            optimizer.param_groups[0]["lr"] = rate
            moved = _shifted(inputs[batch], recipe.shift, black, draws)
            loss = F.cross_entropy(model(moved), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            yield loss.item()


def _shifted(inputs: Tensor, most: int, fill: float, draws: torch.Generator) -> Tensor:
    """Each image moved at random; digits cannot be flipped as photographs are."""
    height, width = inputs.shape[-2:]
    padded = F.pad(inputs, (most,) * 4, value=fill)
    offsets = torch.randint(2 * most + 1, (len(inputs), 2), generator=draws, device="cpu")
    return torch.stack(
        [
            image[:, top : top + height, left : left + width]
            for image, (top, left) in zip(padded, offsets.tolist(), strict=True)
        ]
    )


@torch.no_grad()
def answers(model: nn.Module, samples: Samples, images: Images, side: int) -> Tensor:
    """The class that an eval-mode net gives to each sample, ``(N,)``."""
    return torch.cat([model(shown_as(images, part, side)).argmax(1) for part in samples.parts(256)])
