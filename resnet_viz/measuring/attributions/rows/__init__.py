"""How many rows go through the model at once, and what is kept of each: its gradient alone.

Captum grows a batch by every step and every draw, and autograd would keep the activations
of all of them. Here they go through in parts, and memory that runs out makes the parts
smaller, never the answer another.
"""

from resnet_viz.measuring.attributions.rows.budget import bytes_per_row, rows_at_once
from resnet_viz.measuring.attributions.rows.gradients import row_scores, samples_meet
from resnet_viz.measuring.attributions.rows.layout import channels_last
from resnet_viz.measuring.attributions.rows.memory import (
    MemoryUse,
    in_fewer_rows,
    is_out_of_memory,
)

__all__ = [
    "MemoryUse",
    "bytes_per_row",
    "channels_last",
    "in_fewer_rows",
    "is_out_of_memory",
    "row_scores",
    "rows_at_once",
    "samples_meet",
]
