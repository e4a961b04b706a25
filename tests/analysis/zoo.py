"""Real models, traced once per session at small sizes."""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Structure
from resnet_viz.tracing.tracer import trace_model

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


@functools.cache
def model(name: str) -> nn.Module:
    """``tv:NAME``, ``timm:NAME``, ``hf:NAME`` or ``ours:NAME``."""
    source, _, name = name.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _SOURCES[source](name).eval()


@functools.cache
def graph(name: str) -> ModelGraph:
    args, kwargs = _inputs(name)
    return trace_model(model(name), args, kwargs, name=name)


@functools.cache
def structure(name: str) -> Structure:
    return annotate(graph(name))


def _torchvision(name: str) -> nn.Module:
    import torchvision

    kwargs: dict[str, Any] = {"image_size": 32, "patch_size": 16} if name == "vit_b_16" else {}
    if name == "vit_b_16":
        return torchvision.models.VisionTransformer(
            num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072, **kwargs
        )
    kwargs = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, **kwargs)


def _timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False)


def _transformers(name: str) -> nn.Module:
    import transformers as hf

    small = {
        "vocab_size": 50,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    usual = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        **small,
    }
    if name == "gpt2":
        return hf.GPT2LMHeadModel(
            hf.GPT2Config(n_layer=2, n_embd=32, n_head=4, n_positions=32, **small)
        )
    if name in ("llama", "llama eager"):
        how = {"attn_implementation": "eager"} if "eager" in name else {}
        return hf.LlamaForCausalLM(hf.LlamaConfig(num_key_value_heads=2, **usual, **how))
    if name == "bert":
        return hf.BertModel(hf.BertConfig(**usual))
    if name == "t5":
        return hf.T5Model(
            hf.T5Config(d_model=32, num_layers=2, num_heads=4, d_ff=64, d_kv=8, vocab_size=50)
        )
    raise KeyError(name)


def _ours(name: str) -> nn.Module:
    from resnet_viz.sources.variants import build

    return build(name)


_SOURCES = {"tv": _torchvision, "timm": _timm, "hf": _transformers, "ours": _ours}


def _inputs(name: str) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    if name.startswith("hf:"):
        ids = torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(0))
        return ((), {"input_ids": ids, "decoder_input_ids": ids}) if "t5" in name else ((ids,), {})
    size = 32 if name.startswith("ours:") or "vit" in name else 64
    size = {"tv:inception_v3": 75, "timm:mixer_s32_224": 224}.get(name, size)
    return (torch.zeros(2, 3, size, size),), {}


def of_type(name: str, *types: str) -> list[nn.Module]:
    """The model's modules of these class names: what its authors say is in it."""
    return [m for m in model(name).modules() if type(m).__name__ in types]
