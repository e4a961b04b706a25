"""One rule per kind of op: what its output's axes stand for, given its operands'.

An op without a rule that keeps the shape keeps the axes; of any other nothing is known.
"""

from __future__ import annotations

from resnet_viz.core.graph import Op
from resnet_viz.measuring.layers import mixing_rules as mixing
from resnet_viz.measuring.layers import moving_rules as moving
from resnet_viz.measuring.layers.axes import unknown
from resnet_viz.measuring.layers.flows import Flow, Operands, Rule, elementwise, sizes


def flows_of(op: Op, operands: Operands) -> list[Flow]:
    """What each output of an op is made of.

    Args:
        op: Any op of a graph.
        operands: Axes of its activations, by ``in_slot``.
    """
    shapes = [spec.shape for spec in op.outputs]
    mixes = op.kind.startswith(("fft_", "linalg_"))
    rule = RULES.get(op.kind, _nothing if mixes else _keeps)
    found: list[Flow] = []
    made: Flow | list[Flow] = rule(op, operands, shapes[0]) if shapes and operands else []
    for i, shape in enumerate(shapes):
        flow = (made[i] if i < len(made) else None) if isinstance(made, list) else made
        # A rule that misread its arguments must not be believed.
        fits = flow is not None and sizes(flow.axes) == shape
        found.append(flow if fits and flow is not None else Flow(unknown(shape)))
    return found


def _keeps(_op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    return elementwise(operands, shape)


def _nothing(_op: Op, _operands: Operands, shape: tuple[int, ...]) -> Flow:
    return Flow(unknown(shape))


def _words(text: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(text.split(), rule)


RULES: dict[str, Rule] = {
    **_words("conv2d conv_transpose2d pixel_shuffle pixel_unshuffle", mixing.on_map(False)),
    **_words(
        "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d lp_pool2d "
        "interpolate upsample grid_sample",
        mixing.on_map(True),
    ),
    **_words("linear mm", mixing.projected),
    **_words("layer_norm rms_norm", mixing.normalised),
    **_words("softmax log_softmax cumsum cumprod glu", mixing.mixing_along(1)),
    "normalize": mixing.mixing_along(2),
    **_words("matmul bmm", mixing.multiplied),
    "einsum": mixing.summed_by_letters,
    "scaled_dot_product_attention": mixing.attended,
    **_words("mean sum amax amin max min std var logsumexp median", mixing.reduced(1)),
    "norm": mixing.reduced(2),
    "permute": moving.permute,
    **_words("transpose swapaxes swapdims", moving.transpose),
    **_words("t T mT adjoint", moving.turn),
    **_words("movedim moveaxis", moving.move),
    **_words(
        "reshape view flatten unflatten unsqueeze squeeze ravel view_as reshape_as",
        moving.reshape,
    ),
    **_words("expand expand_as broadcast_to", moving.expand),
    **_words("repeat tile", moving.repeat),
    **_words("cat concat concatenate", moving.concatenate),
    "stack": moving.stack,
    **_words("getitem select narrow", moving.index),
    **_words("split split_with_sizes chunk tensor_split unbind", moving.split),
    "roll": moving.roll,
    "flip": moving.flip,
    "pad": moving.pad,
    **_words(
        "conv1d conv3d conv_transpose1d conv_transpose3d lstm gru embedding unfold fold "
        "multi_head_attention_forward sort argsort topk gather take_along_dim index_select "
        "scatter scatter_add index_add index_copy rot90 fliplr flipud tril triu",
        _nothing,
    ),
}
"""Kind to rule."""
