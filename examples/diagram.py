"""Draws a variant, and reads its skip paths as data."""

from pathlib import Path

import resnet_viz as rv

graph = rv.trace(rv.build("resnet34").eval(), name="ResNet-34")
structure = rv.annotate(graph)

for skip in structure.skips:
    print(f"{skip.kind:10}  {skip.fork}  ->  {skip.join}")
for suffix in ("svg", "png"):
    Path(f"resnet34.{suffix}").write_bytes(rv.render(graph, suffix))
print(f"wrote resnet34.svg and resnet34.png: {len(graph)} ops, {len(structure.skips)} skip paths")
