"""Names of classes: the 1,000 of ImageNet, those a library knows, or a file's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from resnet_viz.core.errors import UserError, one_line

IMAGENET_CLASSES = 1000
_UNNAMED = re.compile(r"LABEL_\d+")


@cache
def imagenet_labels() -> tuple[str, ...]:
    """The names of the 1,000 classes of ImageNet-1k, by index, as torchvision spells them."""
    text = files("resnet_viz.sources.datasets") / "data" / "imagenet-classes.txt"
    return tuple(text.read_text(encoding="utf-8").splitlines())


def torchvision_labels(weights: Any, args: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes that weights of torchvision were trained on.

    Args:
        weights: A member of one of torchvision's enums of weights.
        args: What the model was built with: other classes have other names.
    """
    names = tuple(weights.meta.get("categories", ()))
    return names if args.get("num_classes", len(names)) == len(names) else ()


def timm_labels(model: Any) -> tuple[str, ...]:
    """ImageNet's names where a timm model has its 1,000 classes by its own configuration."""
    known = (getattr(model, "pretrained_cfg", None) or {}).get("num_classes")
    alike = known == getattr(model, "num_classes", None) == IMAGENET_CLASSES
    return imagenet_labels() if alike else ()


def transformers_labels(config: Any) -> tuple[str, ...]:
    """The names in a config of transformers; none where it says ``LABEL_0`` and the like."""
    named = getattr(config, "id2label", None)
    if not isinstance(named, Mapping) or not named:
        return ()
    try:
        names = {int(key): str(value) for key, value in named.items()}
    except (TypeError, ValueError):
        return ()
    if set(names) != set(range(len(names))) or all(map(_UNNAMED.fullmatch, names.values())):
        return ()
    return tuple(names[i] for i in range(len(names)))


def read_labels(text: str) -> tuple[str, ...]:
    """Names of classes that a person gives.

    Args:
        text: ``imagenet``; a text file with a name per line; or a JSON file with a list of
            names, or with names by index.

    Raises:
        UserError: If the file cannot be read or holds something else.
    """
    if text == "imagenet":
        return imagenet_labels()
    path = Path(text).expanduser()
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"labels {text} cannot be read ({one_line(error, 120)}): give imagenet, or a file "
            "with a name per line"
        ) from error
    if path.suffix.lower() != ".json":
        return tuple(line.strip() for line in content.splitlines() if line.strip())
    try:
        named = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"labels {text} is no JSON: {one_line(error, 120)}") from error
    if isinstance(named, list):
        named = dict(enumerate(named))
    keys = {str(key): value for key, value in named.items()} if isinstance(named, dict) else {}
    names = [keys.get(str(i)) for i in range(len(keys))]
    found = tuple(name for name in names if isinstance(name, str))
    if not found or len(found) != len(names):
        raise UserError(
            f'labels {text}: give a list of names, or names by index as in {{"0": "tench"}}'
        )
    return found
