"""One drawing by another tool, in a process of its own: ``render_peers.py TOOL NET FILE``.

Each is called as its own pages say. ``torchview`` draws with ``dot``; ``torchvista`` writes a
page that lays itself out in the browser, which starts with modules closed (``all``: open).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from render_nets import NETS


def torchview(model: Any, inputs: Any, file: Path) -> None:
    from torchview import draw_graph

    drawn = draw_graph(model, input_data=inputs, device="meta", depth=100, expand_nested=True)
    drawn.visual_graph.render(outfile=file, format="svg")


def torchvista(model: Any, inputs: Any, file: Path) -> None:
    from torchvista import trace_model

    trace_model(model, inputs, export_path=str(file))


def torchvista_all(model: Any, inputs: Any, file: Path) -> None:
    from torchvista import trace_model

    trace_model(
        model,
        inputs,
        export_path=str(file),
        collapse_modules_after_depth=50,
        forced_module_tracing_depth=50,
    )


PEERS = {
    "torchview": (torchview, "svg"),
    "torchvista": (torchvista, "html"),
    "torchvista-all": (torchvista_all, "html"),
}


if __name__ == "__main__":
    tool, net, name = sys.argv[1:]
    model, given = NETS[net]()
    if any(p.is_meta for p in model.parameters()):
        model = model.to_empty(device="cpu")
    PEERS[tool][0](model, given, Path(name))
