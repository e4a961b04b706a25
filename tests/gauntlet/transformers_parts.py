"""What the lists of tiny Hugging Face models are written with: sizes, inputs, one builder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.gauntlet.cases import Given, given

Inputs = Callable[[], Given]


@dataclass(frozen=True, slots=True)
class Entry:
    """A class of transformers, its inputs, and what its config calls otherwise."""

    class_name: str
    inputs: Inputs
    changes: dict[str, Any]


def entry(class_name: str, inputs: Inputs, **changes: Any) -> Entry:
    """One model; ``...`` as a value leaves a usual size out of its config."""
    return Entry(class_name, inputs, changes)


# What most configs call their sizes; a config that calls them otherwise says so below.
SMALL: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GQA = {"num_key_value_heads": 2, "head_dim": 8}
VIT = {"image_size": 32, "patch_size": 8}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 48}
SEQ = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
}  # fmt: skip
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
WAV = {
    "conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 4),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "num_local_experts": 4}


def tokens(length: int = 8, **more: Any) -> Inputs:
    return lambda: given(input_ids=torch.randint(3, 99, (2, length)), **more)


def masked(length: int = 8) -> Inputs:
    mask = [[1] * length, [1] * (length - 3) + [0] * 3]
    return lambda: given(
        input_ids=torch.randint(3, 99, (2, length)), attention_mask=torch.tensor(mask)
    )


def both() -> Given:
    return given(
        input_ids=torch.randint(3, 99, (2, 8)), decoder_input_ids=torch.randint(3, 99, (2, 5))
    )


def pixels(size: int = 32, count: int = 1) -> Inputs:
    return lambda: given(pixel_values=torch.randn(count, 3, size, size))


def wave(length: int = 800) -> Inputs:
    return lambda: given(input_values=torch.randn(1, length))


def pairs() -> Given:
    ids = torch.randint(3, 99, (2, 7))
    ids[:, -1] = 2
    return given(input_ids=ids, pixel_values=torch.randn(2, 3, 32, 32))


def llava() -> Given:
    ids = torch.cat([torch.full((1, 16), 98), torch.tensor([[5, 6, 7]])], 1)
    return given(input_ids=ids, pixel_values=torch.randn(1, 3, 32, 32))


def build(entry: Entry) -> nn.Module:
    """The model of a tiny config.

    Raises:
        AttributeError: If this version of transformers lacks the class.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    cls = getattr(transformers, entry.class_name)
    changes = dict(entry.changes)
    sizes = {} if "text_config" in changes else SMALL
    implementation = changes.pop("attn_implementation", None)
    config = cls.config_class(**{k: v for k, v in (sizes | changes).items() if v is not ...})
    if implementation:
        config._attn_implementation = implementation
    model: nn.Module = cls(config)
    return model
