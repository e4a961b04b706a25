"""Where attributions are taken: found in the graph, never by the names of modules.

Grad-CAM wants the last map (channels × height × width) before its places are pooled
away, in whatever layout a model keeps it; tokens want the embedding that turns their ids
into numbers.
"""

from __future__ import annotations

from resnet_viz.measuring.layers.checks import check_layer, did_you_mean
from resnet_viz.measuring.layers.choosing import MapChoice, find_map
from resnet_viz.measuring.layers.layouts import Layout
from resnet_viz.measuring.layers.listing import candidates, layout_at
from resnet_viz.measuring.layers.outputs import embedding_of, main_output, reaching_inputs
from resnet_viz.measuring.layers.reading import Reading

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})

__all__ = [
    "RECURRENT",
    "Layout",
    "MapChoice",
    "Reading",
    "candidates",
    "check_layer",
    "did_you_mean",
    "embedding_of",
    "find_map",
    "layout_at",
    "main_output",
    "reaching_inputs",
]
