"""Trains a shipped net anew and writes its files: ``python -m resnet_viz.sources.trained.make``.

Takes about a minute of CPU time. ``--out`` puts the files elsewhere; then it says how far
they are from those that ship.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image

from resnet_viz.sources.datasets.load import load_digits
from resnet_viz.sources.trained.nets import FACTS, FOLDER, Facts, read_tensors
from resnet_viz.sources.trained.recipe import DIGITS_RESNET, Recipe
from resnet_viz.sources.trained.training import Learned, answers, learn
from resnet_viz.sources.variants import VARIANTS

_FIRST_STEPS = 5
_GREYEST = 16
"""The digits' pixels are counts from 0 to 16."""


def write(recipe: Recipe, learned: Learned, folder: Path) -> Facts:
    """Writes weights with their metadata, and pictures; what the metadata say.

    Args:
        recipe: What the net was trained after.
        learned: The trained net.
        folder: Gets ``NET.safetensors`` and ``NET/*.png``.
    """
    from safetensors.torch import save_file

    images, config = load_digits(), VARIANTS[recipe.net]
    found = answers(learned.model, images.test, images, config.side)
    right = found == images.test.labels
    facts = Facts(
        net=recipe.net,
        config=config.to_dict(),
        recipe=asdict(recipe),
        data=images.about.name,
        data_digest=images.digest(),
        mean=tuple(round(value / _GREYEST, 6) for value in images.mean),
        std=tuple(round(value / _GREYEST, 6) for value in images.std),
        labels=tuple(map(str, range(images.about.classes))),
        test_images=len(right),
        test_right=int(right.sum()),
        first_losses=tuple(round(loss, 6) for loss in learned.losses[:_FIRST_STEPS]),
        torch=torch.__version__,
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{recipe.net}.safetensors"
    save_file(
        {name: tensor.contiguous() for name, tensor in learned.model.state_dict().items()},
        file,
        metadata={FACTS: json.dumps(asdict(facts))},  # two entries would come in any order
    )
    file.chmod(0o644)  # safetensors lets nobody else read it
    pictures = folder / recipe.net
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    labels = images.test.labels.tolist()
    chosen = {
        f"digit-{label}": next(
            i for i, (is_right, its) in enumerate(zip(right, labels, strict=True))
            if is_right and its == label
        )
        for label in recipe.shown
    }  # fmt: skip
    wrong = next(iter((~right).nonzero().flatten().tolist()), None)
    if wrong is not None:
        chosen[f"digit-{labels[wrong]}-taken-for-{int(found[wrong])}"] = wrong
    for name, index in chosen.items():
        pixels = images.test.pixels[index, 0]
        grey = (pixels.to(torch.float32) * 255 / _GREYEST).round().to(torch.uint8)
        picture = Image.frombytes("L", (pixels.shape[1], pixels.shape[0]), bytes(grey.flatten()))
        picture.save(pictures / f"{name}.png", optimize=True)
    return facts


def main(arguments: list[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the files")
    given = parser.parse_args(arguments)
    shipped = read_tensors(DIGITS_RESNET.net) if given.out != FOLDER else {}

    def tell(steps: int, loss: float) -> None:
        if steps % 50 == 0:
            sys.stderr.write(f"step {steps}: loss {loss:.4f}\n")

    learned = learn(DIGITS_RESNET, tell=tell)
    facts = write(DIGITS_RESNET, learned, given.out)
    sys.stdout.write(f"{facts.net}: {facts.note}\n")
    if shipped:
        own = learned.model.state_dict()
        far = max(float((own[name] - value).abs().max()) for name, value in shipped.items())
        sys.stdout.write(f"largest difference from the shipped weights: {far:g}\n")


if __name__ == "__main__":
    main()
