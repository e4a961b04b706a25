"""Models and published weights of torchvision and timm, where they are installed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.sources.family.key_maps import translated
from resnet_viz.sources.labels import timm_labels, torchvision_labels
from resnet_viz.sources.names import did_you_mean
from resnet_viz.sources.user_models import call


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A library's model and what its data configuration says."""

    model: nn.Module
    source: str
    input_size: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Weights that torchvision publishes, and the images and classes they were trained on."""

    state: Mapping[str, Tensor]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    labels: tuple[str, ...] = ()


def torchvision_model(name: str, args: Mapping[str, Any], *, meta: bool = False) -> Made:
    """A torchvision model with random weights; on the meta device if that is asked for.

    Raises:
        UserError: Without torchvision, for an unknown name, or for arguments it refuses.
    """
    torchvision = import_library("torchvision", f"torchvision:{name}")
    known = torchvision.models.list_models()
    if name not in known:
        raise UserError(
            f"torchvision has no model {name!r}{did_you_mean(name, known)}; "
            "torchvision.models.list_models() lists them"
        )
    builder = torchvision.models.get_model_builder(name)
    options: dict[str, Any] = {}
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None  # Or detectors and segmenters download one.
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True  # What they do anyway, without their warning.
    options |= args
    model = call(builder, options, what=f"torchvision:{name}", folder=None, meta=meta)
    made = Made(model=model, source=f"torchvision {torchvision.__version__}")
    try:
        weights = torchvision.models.get_model_weights(name).DEFAULT
    except (AttributeError, ValueError):
        return made
    size, mean, std = _torchvision_data(weights)
    labels = torchvision_labels(weights, args)
    return replace(made, input_size=size, mean=mean, std=std, labels=labels)


def _torchvision_data(
    weights: Any,
) -> tuple[tuple[int, ...] | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    """Input size, mean and std of published weights."""
    transforms = weights.transforms()
    side = getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None)
    size = None
    if side is not None:
        height, width = (side[0], side[-1])
        frames = (16,) if "Video" in type(transforms).__name__ else ()
        size = (1, 3, *frames, height, width)
    return size, *_mean_std(transforms)


def _mean_std(transforms: Any) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    mean, std = getattr(transforms, "mean", None), getattr(transforms, "std", None)
    return (tuple(mean) if mean else None), (tuple(std) if std else None)


def torchvision_weights(name: str, tag: str) -> Published:
    """The weights that torchvision publishes for a model under a tag.

    Raises:
        UserError: Without torchvision, for a model without weights, an unknown tag, or
            where they cannot be downloaded.
    """
    torchvision = import_library("torchvision", f"--weights {tag}")
    try:
        family = torchvision.models.get_model_weights(name)
    except ValueError as error:
        raise UserError(
            f"torchvision publishes no weights for {name}: give --weights FILE"
        ) from error
    tags = [member.name for member in family]
    if tag != "DEFAULT" and tag not in tags:
        raise UserError(f"torchvision has no weights {tag!r} for {name}; it has: {', '.join(tags)}")
    weights = getattr(family, tag)
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"weights {tag} of {name} could not be downloaded ({one_line(error, 120)}): fetch "
            f"{weights.url} where there is a network and give --weights FILE"
        ) from error
    mean, std = _mean_std(weights.transforms())
    labels = torchvision_labels(weights, {})
    return Published(state=translated(None, state), mean=mean, std=std, labels=labels)


def timm_model(name: str, args: Mapping[str, Any], *, meta: bool = False) -> Made:
    """A timm model with random weights; on the meta device if that is asked for.

    Raises:
        UserError: Without timm, for an unknown name, or for arguments it refuses.
    """
    timm = import_library("timm", f"timm:{name}")
    if not timm.is_model(name):
        known = timm.list_models()
        raise UserError(
            f"timm has no model {name!r}{did_you_mean(name, known)}; timm.list_models() lists them"
        )

    def builder(**options: Any) -> Any:
        return timm.create_model(name, pretrained=False, **options)

    model = call(builder, args, what=f"timm:{name}", folder=None, meta=meta)
    # Its data configuration does not see arguments that change the input.
    sizes = {key: args[key] for key in ("img_size", "in_chans") if isinstance(args.get(key), int)}
    config = timm.data.resolve_model_data_config(model, args=sizes)
    return Made(
        model=model,
        source=f"timm {timm.__version__}",
        input_size=(1, *config["input_size"]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        labels=timm_labels(model),
    )


def torchvision_names() -> tuple[str, ...]:
    """The names torchvision knows; none where it is not installed."""
    try:
        import torchvision
    except ImportError:
        return ()
    return tuple(torchvision.models.list_models())


def timm_names() -> tuple[str, ...]:
    """The names timm knows; none where it is not installed."""
    try:
        import timm
    except ImportError:
        return ()
    return tuple(timm.list_models())


def import_library(library: str, wanted_by: str) -> ModuleType:
    """An optional library.

    Raises:
        UserError: If it is not installed, with the command to install it, or broken.
    """
    from importlib import import_module

    try:
        return import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise UserError(f"{library} does not import: {one_line(error)}") from error
        raise UserError(
            f"{wanted_by} needs {library}, which is not installed: pip install {library}"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        # A torchvision built for another torch fails in any of these ways.
        raise UserError(f"{library} does not import: {one_line(error)}") from error
