"""What the analysis knows about torch functions, by ``Op.kind`` and by nothing else.

A function that is in none of these sets counts as a nonlinearity that is no
activation function: it never lies on a shortcut and never hides a branch, so an
unknown function makes a skip be missed rather than invented.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set of kinds."""
    return frozenset(text.split())


JOINS = frozenset({"add", "mul", "cat"})

PERMUTING = words("permute transpose t T mT H mH adjoint movedim moveaxis swapaxes swapdims")
MAYBE_VIEWS = words("reshape reshape_as flatten ravel contiguous")
"""Views of a dense tensor, copies of a permuted one."""

VIEWS = PERMUTING | words(
    """view view_as unflatten squeeze unsqueeze expand expand_as broadcast_to narrow select
    chunk split split_with_sizes tensor_split hsplit vsplit dsplit unbind alias detach diagonal
    as_strided real imag view_as_real view_as_complex data requires_grad rename"""
)

DROPOUTS = words(
    """dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout
    feature_alpha_dropout"""
)

CASTS = words("to type type_as float half bfloat16 double cuda cpu clone")

# Values move, none changes: a permutation, a selection or zeros around them.
IDENTITIES = (
    VIEWS
    | MAYBE_VIEWS
    | DROPOUTS
    | CASTS
    | words(
        """getitem roll flip pixel_shuffle pixel_unshuffle channel_shuffle
        native_channel_shuffle index_select"""
    )
)

CONVOLUTIONS = words("""conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d""")
PRODUCTS = words("matmul mm bmm addmm addbmm baddbmm einsum tensordot mv chain_matmul")
LINEAR = CONVOLUTIONS | PRODUCTS | {"linear"}

NORMS = words("batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm")

# Max pooling belongs here: it selects values and scales none, so its Jacobian is a
# 0/1 matrix like that of subsampling, and it is no pointwise nonlinearity.
POOLINGS = frozenset(
    f"{name}{dim}d"
    for name in ("avg_pool", "max_pool", "lp_pool", "adaptive_avg_pool", "adaptive_max_pool")
    for dim in (1, 2, 3)
) | words("interpolate upsample upsample_nearest upsample_bilinear repeat_interleave mean amax")

ACTIVATIONS = words(
    """relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish hardsigmoid
    hardtanh sigmoid logsigmoid tanh softplus softsign softmax clamp clamp_min threshold glu
    erf softshrink hardshrink tanhshrink"""
)

SQUASHING = words("sigmoid hardsigmoid softmax tanh hardtanh clamp relu6")

# They may read a parameter, but one per channel or per tensor: a scale, a bias, a
# slope. That is no layer, so it does not make a residual branch by itself.
ELEMENTWISE = (
    words("add sub mul div pow addcmul addcdiv lerp where masked_fill maximum minimum")
    | ACTIVATIONS
    | IDENTITIES
)

ATTENTION = words("scaled_dot_product_attention multi_head_attention_forward")

# What works along a sequence by itself: recurrences, scans and transforms. No MLP does.
SEQUENTIAL = words(
    """lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell exp cumsum
    cumprod logcumsumexp fft_fft fft_fftn fft_fft2 fft_rfft fft_rfft2"""
)

# They read the shape or dtype of their operand, never its values.
VALUELESS = words(
    """empty_like zeros_like ones_like full_like rand_like randn_like randint_like new_empty
    new_zeros new_ones new_full new_tensor size stride numel dim"""
)
