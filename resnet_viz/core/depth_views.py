"""What each depth of a network sees of an image, from stem to last stage."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_viz.core.graph import OpId
from resnet_viz.core.pictures import Heatmap, Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptiveField:
    """Which part of the input one place of a map depends on.

    Attributes:
        height: Theoretical, in input pixels, from the graph (it may exceed the input);
            ``None`` where the graph does not tell.
        width: Likewise.
        stride: Input pixels between neighbouring places, (vertical, horizontal).
        centre: Where the middle of the first place's field lies, (vertical, horizontal), in
            input pixels from the middle of the first one.
        whole: Whether every place sees the whole input (attention, a gate made by global
            pooling, a norm over places); height and width are then what convolutions and
            pools see by themselves, and the input's where attention mixes all places.
        effective: Side of the square around the centre that holds 95 % of the gradient's
            magnitude from the map's central place (Luo et al. 2016); ``None`` where not
            measured.
        map: Magnitude of that gradient over the input.
    """

    height: int | None
    width: int | None
    stride: tuple[float, float]
    centre: tuple[float, float] = (0.0, 0.0)
    whole: bool = False
    effective: float | None = None
    map: Heatmap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMap:
    """One channel of a layer's output."""

    channel: int
    strength: float
    heatmap: Heatmap


@dataclass(frozen=True, slots=True, kw_only=True)
class StageView:
    """What one stage sees.

    Attributes:
        name: The stage's; ``stem`` before the first.
        op: Whose output is looked at.
        module: Its module.
        shape: Of that output, as channels × height × width.
        cam: Grad-CAM (Selvaraju et al. 2017) of the target there.
        features: The strongest feature maps, by mean magnitude.
        field: Its receptive field.
    """

    name: str
    op: OpId
    module: str
    shape: tuple[int, ...]
    cam: Heatmap | None = None
    features: tuple[FeatureMap, ...] = ()
    field: ReceptiveField | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthView:
    """One input, stage by stage."""

    input: int
    target: str
    stages: tuple[StageView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """The filters of the first convolution on an image, as pictures.

    Attributes:
        op: The convolution.
        module: Its module.
        shape: Of its weight, (out, in, height, width).
        pictures: One PNG per filter, strongest (largest norm) first; in colour where the
            image has three channels.
    """

    op: OpId
    module: str
    shape: tuple[int, ...]
    pictures: tuple[Picture, ...]
