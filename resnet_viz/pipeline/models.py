"""Where models come from: ``rv.build`` and ``rv.load``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resnet_viz.study import Study, load_model

if TYPE_CHECKING:
    from torch import nn

    from resnet_viz.sources.family.net_config import NetConfig
    from resnet_viz.sources.loading import Loaded


def build(net: str | NetConfig, **changes: Any) -> nn.Module:
    """A variant by name, e.g. ``build("plain56", activation="sigmoid", norm="none")``.

    Args:
        net: A name that ``resnet-viz models`` lists, or a config.
        **changes: Options of the config to set otherwise.

    Raises:
        UserError: For an unknown name or option, with near misses.
    """
    from resnet_viz.sources.variants import build as build_variant

    return build_variant(net, **changes)


def load(
    text: str,
    *,
    args: Mapping[str, Any] | None = None,
    weights: str | None = None,
    seed: int = 0,
    unsafe_load: bool = False,
    trust_remote_code: bool = False,
) -> Loaded:
    """A model from what a person types, with what is known about it.

    Args:
        text: ``resnet50``, ``torchvision:NAME``, ``timm:NAME``, ``hf:PATH_OR_ID``,
            ``file.py:Name``, ``pkg.mod:Name`` or ``model.pt2``.
        args: Keyword arguments of the constructor or factory; entries of the config for
            ``hf:``.
        weights: A file, or a tag that torchvision publishes.
        seed: Of the initial weights.
        unsafe_load: Whether files may be unpickled that run code then.
        trust_remote_code: Whether Python code that comes with a ``hf:`` config may run.

    Raises:
        UserError: In one line, for whatever keeps it from loading.
    """
    study = Study(
        model=text,
        args=args or {},
        weights=weights,
        seed=seed,
        unsafe_load=unsafe_load,
        trust_remote_code=trust_remote_code,
    )
    return load_model(study)
