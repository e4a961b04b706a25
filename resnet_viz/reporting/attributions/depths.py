"""What each depth sees: a strip of stages per input, and the first layer's filters."""

from __future__ import annotations

from typing import Any

from resnet_viz.core.attribution import Attributions
from resnet_viz.core.depth_views import Kernels, ReceptiveField, StageView
from resnet_viz.core.message import say
from resnet_viz.core.pictures import Heatmap
from resnet_viz.core.units import count, scientific
from resnet_viz.core.units import shape as shape_text
from resnet_viz.reporting.attributions.pictures import grey, sprite
from resnet_viz.reporting.attributions.words import input_name

Json = dict[str, Any]

MOST_FEATURES = 4
MOST_KERNELS = 64
_COLUMNS = 16
_FEATURE, _CAM, _FIELD = 48, 72, 64  # pixels of a side


def depth_strips(found: Attributions, photos: dict[int, Json]) -> list[Json]:
    """Per input its stages from stem to last."""
    return [
        {
            "name": input_name(found, depth.input),
            "target": depth.target,
            "stages": [_stage(stage, photos.get(depth.input), found) for stage in depth.stages],
        }
        for depth in found.depths
    ]


def kernel_grid(kernels: Kernels) -> Json | None:
    """The strongest filters in one picture; ``None`` where there are none."""
    shown = kernels.pictures[:MOST_KERNELS]
    if not shown:
        return None
    uri, w, h = sprite(shown, _COLUMNS)
    columns, rows = min(_COLUMNS, len(shown)), -(-len(shown) // _COLUMNS)
    return {
        "module": kernels.module,
        "shape": shape_text(kernels.shape),
        "uri": uri,
        "width": w * columns,
        "height": h * rows,
        "lines": "".join(f"M{w * i},0V{h * rows}" for i in range(1, columns))
        + "".join(f"M0,{h * i}H{w * columns}" for i in range(1, rows)),
        "columns": columns,
        "said": say("the strongest {n} of {all}", n=len(shown), all=f"{kernels.shape[0]:,}")
        if len(shown) < kernels.shape[0]
        else say("all {n}", n=len(shown)),
    }


def _stage(stage: StageView, photo: Json | None, found: Attributions) -> Json:
    places = stage.shape[-2:]
    cam = stage.cam
    return {
        "name": stage.name,
        "module": stage.module,
        "op": stage.op,
        "shape": shape_text(stage.shape),
        "photo": photo,
        "cam": _layer_map(cam, photo, _CAM) if cam is not None else None,
        "features": [
            _layer_map(f.heatmap, None, _FEATURE)
            | {"channel": f.channel, "strength": scientific(f.strength)}
            for f in stage.features[:MOST_FEATURES]
        ],
        "places": shape_text(places),
        "field": _field(stage.field, photo, found) if stage.field is not None else None,
    }


def _layer_map(heatmap: Heatmap, photo: Json | None, most: int) -> Json:
    signed = heatmap.low < 0 < heatmap.high
    drawn = grey(heatmap, signed, layer=True, most=most)
    w, h = (photo["width"], photo["height"]) if photo else (drawn.width, drawn.height)
    return {
        "uri": drawn.uri,
        "kind": "s" if signed else "u",
        "empty": heatmap.low == heatmap.high == 0,
        "width": w,
        "height": h,
        "low": scientific(drawn.scale.low),
        "high": scientific(drawn.scale.high),
    }


def _field(field: ReceptiveField, photo: Json | None, found: Attributions) -> Json:
    """The squares in the middle of the picture, in its pixels, and the numbers in words."""
    seen = field.map
    # The gradient's own map may be averaged down: it does not say how large the input is.
    pixels = _input_size(found)
    w, h = (photo["width"], photo["height"]) if photo else pixels
    zoom = w / pixels[0]

    def square(wide: float, tall: float) -> Json | None:
        x, y = min(wide * zoom, w), min(tall * zoom, h)
        return {"x": round((w - x) / 2, 1), "y": round((h - y) / 2, 1), "w": round(x, 1),
                "h": round(y, 1)}  # fmt: skip

    height, wide = field.height, field.width
    known = height is not None and wide is not None
    said: str = say("the whole input") if field.whole else say("not known from the graph")
    if not field.whole and height is not None and wide is not None:
        said = shape_text((height, wide))
    vertical, across = field.stride
    stride = scientific(vertical) if vertical == across else (
        f"{scientific(vertical)}×{scientific(across)}"
    )  # fmt: skip
    larger = not field.whole and ((height or 0) > pixels[1] or (wide or 0) > pixels[0])
    theory = square(wide or 0, height or 0) if known else None
    return {
        "width": w,
        "height": h,
        "map": grey(seen, False, layer=True, most=_FIELD).uri if seen is not None else "",
        "theory": square(*pixels) if field.whole else theory,
        "effective": square(field.effective, field.effective)
        if field.effective is not None
        else None,
        "said": said,
        "larger": larger,
        "seen": f"{scientific(field.effective)}×{scientific(field.effective)}"
        if field.effective is not None
        else "",
        "stride": count(int(vertical), "pixel")
        if vertical == across == int(vertical)
        else say("{n} pixels", n=stride),
    }


def _input_size(found: Attributions) -> tuple[int, int]:
    maps = [m.heatmap for m in found.maps if m.heatmap is not None and not m.layer]
    if maps:
        return maps[0].width, maps[0].height
    first = found.pictures[0] if found.pictures else None
    return (first.width, first.height) if first is not None else (1, 1)
