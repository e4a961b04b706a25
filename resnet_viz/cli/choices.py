"""``--layer list`` and ``--method list``: what there is to choose from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from resnet_viz.cli.terminal import showing

_LIST = "list"


def asks_for_choices(given: dict[str, Any]) -> bool:
    """Whether the command is to list what there is, and no more."""
    return _LIST in given["layers"] or _LIST in given["methods"]


def print_choices(given: dict[str, Any]) -> None:
    """Prints layers, methods, or both; as JSON with ``--json``.

    Raises:
        ResnetVizError: If the model does not load or its ``forward`` raises.
    """
    import json

    from rich.console import Console

    from resnet_viz.cli import options
    from resnet_viz.pipeline.choices import attribution_layers, attribution_methods
    from resnet_viz.reporting.text.choices import layers_table, methods_table
    from resnet_viz.study import analyse

    with showing(quiet=given["quiet"]) as progress:
        made = analyse(options.study(given, ()), progress)
    layers = attribution_layers(made.graph) if _LIST in given["layers"] else ()
    methods = attribution_methods(made.graph) if _LIST in given["methods"] else ()
    if given["json_"]:
        rows = {
            key: [asdict(row) for row in found]
            for key, found in (("layers", layers), ("methods", methods))
            if found
        }
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    console = Console()
    if layers:
        console.print(layers_table(layers))
    if methods:
        console.print(methods_table(methods, made.graph.name))
