"""How long building takes on the meta device, against torchvision's own constructors."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torchvision
from harness import Ratio, pairs, timed

from resnet_viz.sources.variants import build

NETS = (
    *("resnet18", "resnet50", "resnet152", "resnext50_32x4d", "wide_resnet50_2"),
    *("densenet121", "densenet201"),
)
BAR = 1.3
REPEATS = 5


def on_meta(make: Callable[[], object]) -> float:
    def several() -> None:
        for _ in range(REPEATS):
            make()

    with torch.device("meta"):
        return timed(several)


def build_ratio(name: str) -> Ratio:
    theirs = getattr(torchvision.models, name)
    return pairs(name, lambda: on_meta(theirs), lambda: on_meta(lambda: build(name)), bar=BAR)


def main(names: list[str]) -> int:
    unknown = set(names) - set(NETS)
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(NETS)}")
        return 2
    torch.set_num_threads(1)
    found = []
    for name in names or NETS:
        found.append(build_ratio(name))
        print(found[-1], flush=True)
    return int(any(ratio.median > ratio.bar for ratio in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
