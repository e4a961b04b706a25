"""State dicts of other libraries, with the names that parameters have here.

Here they are torchvision's, and timm's where torchvision has no such net, so most state
dicts load as they are. ``LAYOUTS`` lists the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnet_viz.sources.family.net_config import NetConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names that another library gives to the same parameters.

    Attributes:
        mark: Prefixes that all occur there, and never here.
        rules: Patterns that the beginning of a name matches, and what it is here; the
            first that fits counts. Groups ``stage`` and ``index`` count from 0 there and
            from 1 here; ``{down}`` is the convolution on a shortcut: 0, or 1 behind an
            average.
    """

    mark: tuple[str, ...]
    rules: tuple[tuple[str, str], ...]


_DEEP_STEM = (
    (r"stem\.conv1\.", "conv1.0."),
    (r"stem\.norm1\.", "conv1.1."),
    (r"stem\.conv2\.", "conv1.3."),
    (r"stem\.norm2\.", "conv1.4."),
    (r"stem\.conv3\.", "conv1.6."),
    (r"stem\.conv\.", "conv1."),
)
LAYOUTS: dict[str, Layout] = {
    "timm's ResNetV2 and BiT": Layout(
        mark=("stages.0.blocks.", "stem."),
        rules=(
            *_DEEP_STEM,
            (
                r"stages\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)\.downsample\.conv\.",
                "layer{stage}.{block}.downsample.{down}.",
            ),
            (
                r"stages\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)\.norm(?P<layer>\d)\.",
                "layer{stage}.{block}.bn{layer}.",
            ),
            (r"stages\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)\.", "layer{stage}.{block}."),
            (r"head\.fc\.", "fc."),
        ),
    ),
    "timm's NF-ResNet": Layout(
        mark=("stages.0.0.conv1.gain", "stem."),
        rules=(
            *_DEEP_STEM,
            (
                r"stages\.(?P<stage>\d+)\.(?P<block>\d+)\.downsample\.conv\.",
                "layer{stage}.{block}.downsample.{down}.",
            ),
            (r"stages\.(?P<stage>\d+)\.(?P<block>\d+)\.", "layer{stage}.{block}."),
            (r"head\.fc\.", "fc."),
        ),
    ),
    "timm's legacy SENet": Layout(
        mark=("layer0.", "last_linear."),
        rules=(
            (r"layer0\.", ""),
            (r"(?P<block>layer\d+\.\d+)\.se_module\.", "{block}.se."),
            (r"last_linear\.", "fc."),
        ),
    ),
    # What torchvision publishes for its DenseNets is older than their names.
    "torchvision's first DenseNet": Layout(
        mark=("features.denseblock1.denselayer1.norm.1.",),
        rules=(
            (
                r"(?P<before>features\.denseblock\d+\.denselayer\d+\.(?:norm|conv))"
                r"\.(?P<layer>[12])\.",
                "{before}{layer}.",
            ),
        ),
    ),
    "transformers' ResNet": Layout(
        mark=("resnet.embedder.", "resnet.encoder.stages."),
        rules=(
            (r"resnet\.embedder\.embedder\.convolution\.", "conv1."),
            (r"resnet\.embedder\.embedder\.normalization\.", "bn1."),
            (
                r"resnet\.encoder\.stages\.(?P<stage>\d+)\.layers\.(?P<block>\d+)"
                r"\.shortcut\.convolution\.",
                "layer{stage}.{block}.downsample.0.",
            ),
            (
                r"resnet\.encoder\.stages\.(?P<stage>\d+)\.layers\.(?P<block>\d+)"
                r"\.shortcut\.normalization\.",
                "layer{stage}.{block}.downsample.1.",
            ),
            (
                r"resnet\.encoder\.stages\.(?P<stage>\d+)\.layers\.(?P<block>\d+)"
                r"\.layer\.(?P<index>\d)\.convolution\.",
                "layer{stage}.{block}.conv{index}.",
            ),
            (
                r"resnet\.encoder\.stages\.(?P<stage>\d+)\.layers\.(?P<block>\d+)"
                r"\.layer\.(?P<index>\d)\.normalization\.",
                "layer{stage}.{block}.bn{index}.",
            ),
            (r"classifier\.1\.", "fc."),
        ),
    ),
}


def layout_of(keys: Iterable[str]) -> str:
    """The entry of ``LAYOUTS`` these names are in; empty for the names used here."""
    names = list(keys)
    for layout, part in LAYOUTS.items():
        if all(any(name.startswith(prefix) for name in names) for prefix in part.mark):
            return layout
    return ""


def translated(config: NetConfig | None, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of timm, torchvision or transformers as the same net here has it.

    Values are the same tensors, but for a last layer that timm keeps as a 1×1 convolution.
    What is in none of ``LAYOUTS`` stays as it is.

    Args:
        config: Of the net it goes to; ``None`` for one of torchvision.
        state: Tensors by name.
    """
    layout = layout_of(state)
    if not layout:
        return dict(state)
    rules = LAYOUTS[layout].rules
    down = "1" if getattr(config, "shortcut", "") == "D" else "0"
    named = {_renamed(name, rules, down): value for name, value in state.items()}
    weight = named.get("fc.weight")
    if weight is not None and weight.ndim == 4:
        named["fc.weight"] = weight.flatten(1)
    return named


def _renamed(name: str, rules: Iterable[tuple[str, str]], down: str) -> str:
    for pattern, here in rules:
        if found := re.match(pattern, name):
            parts = found.groupdict()
            for counter in parts.keys() & {"stage", "index"}:
                parts[counter] = str(int(parts[counter]) + 1)
            return here.format(**parts, down=down) + name[found.end() :]
    return name
