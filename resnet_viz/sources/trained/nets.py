"""The nets that come with weights, and what is known about them.

Each is a safetensors file whose metadata say how it was made: net, recipe, data and what
its test accuracy is. ``python -m resnet_viz.sources.trained.make`` makes it anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from resnet_viz.sources.weights import load_safetensors

NETS = ("digits-resnet",)
FACTS = "resnet_viz"
"""Key of the metadata that holds ``Facts`` as JSON."""
FOLDER = Path(str(files("resnet_viz.sources.trained").joinpath("data")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the metadata say.

    Attributes:
        net: The variant.
        config: Of that, as ``NetConfig.to_dict`` has it.
        recipe: How it was trained, see ``Recipe``.
        data: The data set, in words.
        data_digest: SHA-256 of its pixels and labels.
        mean: Per channel, of pixels from 0 to 1.
        std: Likewise.
        labels: Names of the classes.
        test_images: How many it was tested on.
        test_right: How many of them it answers rightly.
        first_losses: Of the first steps of training.
        torch: Which torch trained it.
    """

    net: str
    config: dict[str, Any]
    recipe: dict[str, Any]
    data: str
    data_digest: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    test_images: int
    test_right: int
    first_losses: tuple[float, ...]
    torch: str

    @property
    def note(self) -> str:
        """In words, for reports."""
        part = 100 * self.test_right / self.test_images
        return f"trained on {self.data}: {part:.1f} % of {self.test_images} test images right"


def weights_file(net: str) -> Path:
    """Where a net's weights are."""
    return FOLDER / f"{net}.safetensors"


def read_facts(net: str) -> Facts:
    """What the metadata of a net's weights say."""
    from safetensors import safe_open

    with safe_open(weights_file(net), framework="pt") as file:
        table = json.loads(file.metadata()[FACTS])
    facts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    return Facts(**facts)


def read_tensors(net: str) -> dict[str, Tensor]:
    """The state dict of a net that is among ``NETS``."""
    return load_safetensors(weights_file(net))


def own_pictures(net: str) -> tuple[Path, ...]:
    """Test images of the net's own data: some it answers rightly, and one it does not."""
    return tuple(sorted((FOLDER / net).glob("*.png")))
