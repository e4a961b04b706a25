"""Architectures other people wrote, and what their papers' block counts say of them.

Nothing here was read off the analysis: every number has its sum next to it. ``MORE``
holds further members of the families; they run with ``RESNET_VIZ_ALL_FAMILIES=1``.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Family(NamedTuple):
    """Expected skips by kind and blocks by title (``None``: not a matter of count)."""

    skips: dict[str, int]
    blocks: dict[str, int] | None = None


def encoder(layers: int) -> Family:
    """A transformer: attention and mlp with an identity each."""
    return Family({"identity": 2 * layers}, {"attention": layers, "mlp": layers})


INVERTED, PRE = "inverted bottleneck", "pre-activation inverted bottleneck"

TIMM: dict[str, Family] = {
    # Split, selective and grouped convolutions are gates or nothing, inside 16, 8 or 4 blocks.
    "skresnet18": Family({"identity": 5, "projection": 3, "gate": 8}, {"basic": 8}),
    "resnest14d": Family({"projection": 4, "gate": 4}, {"bottleneck": 4}),
    # Global context adds what is the same everywhere: 16 more identities, still bottlenecks.
    "gcresnet50t": Family(
        {"identity": 12 + 16, "projection": 4}, {"bottleneck": 16, "attention": 16}
    ),
    # Lambda layers, halos, BoTNet: 8 blocks, of which the last 3 attend.
    "botnet26t_256": Family({"identity": 4, "projection": 4}, {"bottleneck": 5, "attention": 3}),
    # RegNet X: 1 + 1 + 4 + 7 blocks of width 1, which narrow nothing; Y gates each.
    "regnetx_002": Family({"identity": 9, "projection": 4}, {"basic": 13}),
    "regnety_002": Family({"identity": 9, "projection": 4, "gate": 13}, {"basic": 13}),
    # NFNet: 1 + 2 + 6 + 3 blocks; beta scales the branch, not the shortcut.
    "nfnet_f0": Family(
        {"identity": 8, "projection": 4, "gate": 12}, {"pre-activation bottleneck": 12}
    ),
    # HRNet-W18: 4 + (1·2 + 4·3 + 3·4)·4 + 4 of the head; sums across resolutions are none.
    "hrnet_w18": Family({"identity": 3 + 104, "projection": 5}, {"bottleneck": 8, "basic": 104}),
    # DLA-34: 2 + 4 + 4 + 2 blocks, 1 + 2 + 2 + 1 roots.
    "dla34": Family({"identity": 8, "projection": 4, "concat": 6}, {"basic": 12, "dense": 6}),
    # DPN-68: 3 + 4 + 12 + 3 units; the first of a stage has norm and ReLU on its shortcut.
    "dpn68": Family({"identity": 22 - 4, "concat": 22 - 4}, {PRE: 18, "dense": 18}),
    # CSP: 3 + 3 + 5 + 2 bottlenecks, 4 stages that pass one half on.
    "cspresnet50": Family({"identity": 13, "concat": 4}, {"bottleneck": 13, "other": 4}),
    # VoVNet-39: 1 + 1 + 2 + 2 one-shot aggregations; SelecSLS-42: 6.
    "vovnet39a": Family({"concat": 6}, {"dense": 6}),
    "ese_vovnet19b_dw": Family({"concat": 4, "gate": 4}, {"dense": 4}),
    # RDNet-T: 3 + 3 + 12 + 3 dense layers, gated from the third stage on.
    "rdnet_tiny": Family({"concat": 21, "gate": 15}, {"dense": 21}),
    # NASNet-A: 6 + 6 + 6 normal cells, each with sep(x) + x and x in its concatenation.
    "nasnetalarge": Family({"identity": 18, "concat": 18}, {"basic": 18, "dense": 18}),
    "inception_v4": Family({}, {}),
    # Inception-ResNet-v2: 10 + 20 + 10 blocks.
    "inception_resnet_v2": Family({"identity": 40}, {"bottleneck": 40}),
    # Xception: 3 + 1 projections, 8 identities; depthwise layers in front narrow nothing,
    # the last block goes 728, 1024.
    "xception41": Family(
        {"identity": 8, "projection": 4},
        {"basic": 11, "bottleneck": 1},
    ),
    # RepVGG-A0: 2 + 4 + 14 + 1 layers, all but the first of a stage have the norm branch.
    "repvgg_a0": Family({"projection": 21 - 4}, {"basic": 17}),
    # MobileOne-S0: 21 depthwise and 21 pointwise layers; 4 strided, 3 that widen.
    "mobileone_s0": Family({"projection": 21 - 4 + 21 - 3}),
    # MobileNetV3-small: 6 repeats, 9 gates. V4: 5 + 5 repeats.
    "mobilenetv3_small_100": Family({"identity": 6, "gate": 9}, {INVERTED: 6}),
    "mobilenetv4_conv_small": Family({"identity": 10}, {INVERTED: 10}),
    # EfficientNet-B0: 16 blocks, 7 of them change shape; V2-B0: 1 + 2 + 2 + 3 + 5 + 8.
    "efficientnet_b0": Family({"identity": 16 - 7, "gate": 16}, {INVERTED: 9}),
    "tf_efficientnetv2_b0": Family({"identity": 21 - 6, "gate": 3 + 5 + 8}, {INVERTED: 15}),
    # LCNet has no residual, and a gate in each of its last two units.
    "lcnet_050": Family({"gate": 2}, {}),
    # GhostNet: two ghost modules in each of 16 units; 5 units have a depthwise and a
    # pointwise layer on the shortcut; 7 gates.
    "ghostnet_100": Family({"concat": 2 * 16, "identity": 11, "projection": 5, "gate": 7}),
    # ConvNeXt-A, V2-A (GRN is none): 2 + 2 + 6 + 2. InceptionNeXt passes a slice on.
    "convnext_atto": Family({"identity": 12}, {INVERTED: 12}),
    "convnextv2_atto": Family({"identity": 12}, {INVERTED: 12}),
    "inception_next_atto": Family({"identity": 12, "concat": 12}, {INVERTED: 12}),
    # MambaOut-femto: 3 + 3 + 9 + 3 blocks, part of whose channels miss the convolution.
    "mambaout_femto": Family({"identity": 18, "concat": 18}, {INVERTED: 18}),
    "fasternet_t0": Family({"identity": 13, "concat": 13}, {INVERTED: 13}),  # 1 + 2 + 8 + 2
    "convmixer_768_32": Family({"identity": 32}, {"basic": 32}),
    # All-MLP nets: 8 · 2, 12 · 2 and 30 sublayers; the spatial gate of gMLP multiplies halves.
    "mixer_s32_224": Family({"identity": 16}, {"mlp": 16}),
    "resmlp_12_224": Family({"identity": 24}, {"mlp": 24}),
    "gmlp_s16_224": Family({"identity": 30}, {"mlp": 30}),
    # MetaFormers: 2 + 2 + 6 + 2 and 3 + 3 + 9 + 3 blocks of two sublayers; V2 and the
    # convolutional one scale the shortcut in the last two stages.
    "poolformer_s12": Family({"identity": 24}, {"mlp": 12, "other": 12}),
    "poolformerv2_s12": Family({"identity": 8, "scaled": 16}, {"mlp": 12, "other": 12}),
    "convformer_s18": Family({"identity": 12, "scaled": 24}, {INVERTED: 18, "mlp": 18}),
    # Focal modulation multiplies two functions of x: 2 · 12 sublayers and no gate.
    "focalnet_tiny_srf": Family({"identity": 24}),
    "starnet_s1": Family({"identity": 15}, {INVERTED: 15}),  # 2 + 2 + 8 + 3
    # ViT and its like: two identities per layer.
    "vit_tiny_patch16_224": encoder(12),
    "deit3_small_patch16_224": encoder(12),  # LayerScale
    "beit_base_patch16_224": encoder(12),
    "eva02_tiny_patch14_224": encoder(12),  # SwiGLU, rotary
    "vit_small_patch16_18x2_224": encoder(18),  # two parallel branches of each kind
    "swin_tiny_patch4_window7_224": encoder(2 + 2 + 6 + 2),
    "swinv2_tiny_window8_256": encoder(2 + 2 + 6 + 2),
    "nest_tiny": encoder(2 + 2 + 8),
    "pit_ti_224": encoder(2 + 6 + 4),
    # A query-pooling layer projects and pools its shortcut, 3 in each.
    "hiera_tiny_224": Family({"identity": 24 - 3, "projection": 3}, {"attention": 12, "mlp": 12}),
    # MViTv2-T: 10 layers; the attention adds its pooled queries once more.
    "mvitv2_tiny": Family({"identity": 30 - 3, "projection": 3}, {"attention": 20, "mlp": 10}),
    # VOLO-D1: 4 + 4 + 8 + 2 layers and 2 of class attention; the sum of two heads is none.
    "volo_d1_224": Family({"identity": 40}, {"attention": 20, "mlp": 20}),
    # TNT-S: 12 · (inner + outer); adding projected pixels to patches is none.
    "tnt_s_patch16_224": encoder(24),
    # CaiT: 24 layers, 2 of class attention; at the first of these the class token is still
    # a parameter, so that nothing goes past it.
    "cait_xxs24_224": Family({"identity": 2 * 26 - 1}, {"attention": 25, "mlp": 26}),
    # XCiT: attention, local interaction and mlp in 12 layers, 2 of class attention.
    "xcit_nano_12_p16_224": Family({"identity": 40}, {"attention": 14, "mlp": 14, "basic": 12}),
    # CrossViT-Ti: 3 stages of 1 + 4 layers, 2 cross attentions without mlp.
    "crossvit_tiny_240": Family({"identity": 36}, {"attention": 21, "mlp": 15}),
    # CoaT-T: 8 serial and 6 · 3 parallel layers, each with a positional convolution.
    "coat_tiny": Family({"identity": 3 * 26}, {"attention": 26, "mlp": 26, "basic": 26}),
    "twins_svt_small": Family({"identity": 40}, {"attention": 18, "mlp": 18, "basic": 4}),
    "davit_tiny": Family({"identity": 4 * 12}, {"attention": 12, "mlp": 12, "basic": 24}),
    # LeViT-128S: 2 + 3 + 4 layers, 2 shrinking attentions with an mlp and no shortcut.
    "levit_128s": Family({"identity": 20}, {"attention": 9, "mlp": 11}),
    "pvt_v2_b0": Family({"identity": 16}, {"attention": 8, INVERTED: 8}),
    # Hybrids. CoAtNet-0: 2 + 3 and 7 + 2 blocks, the first of each stage projects.
    "coatnet_0_rw_224": Family(
        {"identity": 5 + 18 - 4, "projection": 4, "gate": 5}, {PRE: 5, "attention": 9, "mlp": 9}
    ),
    # MaxViT: 2 + 2 + 5 + 2 of MBConv, block attention, mlp, grid attention, mlp.
    "maxvit_pico_rw_256": Family(
        {"identity": 5 * 11 - 4, "projection": 4, "gate": 11},
        {INVERTED: 11, "attention": 22, "mlp": 22},
    ),
    # MobileViT: 3 MBConv, 2 + 4 + 3 layers, 3 fusions; separable attention in V2.
    "mobilevit_xxs": Family(
        {"identity": 21, "concat": 3}, {INVERTED: 3, "attention": 9, "mlp": 9, "other": 3}
    ),
    "mobilevitv2_050": Family({"identity": 19}, {INVERTED: 1, "attention": 9, "mlp": 9}),
    # EdgeNeXt: 2 + 2 + 6 + 2 blocks; 3 of them split, attend and go on.
    "edgenext_xx_small": Family(
        {"identity": 9 + 2 * 3, "concat": 3}, {INVERTED: 9, "attention": 6}
    ),
    # EfficientFormer-L1: 3 + 2 + 6 + 4 mlps and one attention; the other 14 mixers are
    # x + scale · (pool(x) - x), one linear filter without a layer.
    "efficientformer_l1": Family({"identity": 16}, {"mlp": 15, "attention": 1}),
}  # fmt: skip

MORE: dict[str, Family] = {
    # A recurrent token mixer is no MLP: 4 + 3 + 8 + 3 layers.
    "sequencer2d_s": Family({"identity": 36}, {"mlp": 18, "other": 18}),
    "seresnet50": Family({"identity": 12, "projection": 4, "gate": 16}, {"bottleneck": 16}),
    "skresnet50": Family({"identity": 12, "projection": 4, "gate": 16}, {"bottleneck": 16}),
    "bat_resnext26ts": Family(
        {"identity": 4 + 8, "projection": 4}, {"bottleneck": 8, "attention": 8}
    ),
    "lambda_resnet26t": Family({"identity": 4, "projection": 4}, {"bottleneck": 5, "attention": 3}),
    "halonet26t": Family({"identity": 4, "projection": 4}, {"bottleneck": 5, "attention": 3}),
    "darknet53": Family({"identity": 23}, {"bottleneck": 23}),  # 1 + 2 + 8 + 8 + 4
    "cspdarknet53": Family(
        {"identity": 23, "concat": 5}, {"bottleneck": 1, "basic": 22, "other": 5}
    ),
    "cspresnext50": Family({"identity": 13, "concat": 4}, {"basic": 13, "other": 4}),
    # 1 bottleneck, 2 · (2 + 3 + 4) basic blocks, 4 of the head.
    "hrnet_w18_small": Family({"identity": 18, "projection": 5}, {"bottleneck": 5, "basic": 18}),
    "nf_resnet50": Family({"identity": 12, "projection": 4}, {"bottleneck": 16}),
    "tresnet_m": Family(
        {"identity": 18, "projection": 3, "gate": 18}, {"basic": 7, "bottleneck": 14}
    ),
    "xception": Family({"identity": 8, "projection": 4}),
    "selecsls42": Family({"concat": 6}, {"dense": 6}),
    "mobilenetv2_100": Family({"identity": 10}, {INVERTED: 10}),
    "mnasnet_100": Family({"identity": 10}, {INVERTED: 10}),
    "rexnet_100": Family({"identity": 11, "gate": 13}, {INVERTED: 11}),
    "mixnet_s": Family({"identity": 11, "gate": 13}, {"basic": 1, INVERTED: 10}),
    "repvit_m0_9": Family({"identity": 23 + 26, "gate": 10}, {"basic": 23, "mlp": 26}),
    "efficientvit_m0": Family({"identity": 5 * 6 + 8, "concat": 6, "gate": 2}),
    "repghostnet_050": Family({"identity": 11, "projection": 32 + 5, "gate": 7}),
    "caformer_s18": Family(
        {"identity": 12, "scaled": 24}, {INVERTED: 6, "attention": 12, "mlp": 18}
    ),
    "visformer_tiny": Family({"identity": 7 + 16}, {INVERTED: 7, "attention": 8, "mlp": 8}),
    "convit_tiny": encoder(12),
    "crossvit_9_240": Family({"identity": 2 * 3 * (1 + 3) + 6}),
    "twins_pcpvt_small": Family({"identity": 36}, {"attention": 16, "mlp": 16, "basic": 4}),
    "swinv2_cr_tiny_224": encoder(12),
    "eva_giant_patch14_224": encoder(40),
    "vit_small_patch16_36x1_224": encoder(36),
    "vit_relpos_small_patch16_224": encoder(12),
    "samvit_base_patch16": encoder(12),
    "vit_base_patch16_siglip_224": Family({"identity": 25}, {"attention": 12, "mlp": 13}),
    "vit_base_r26_s32_224": Family(
        {"identity": 28, "projection": 4}, {"bottleneck": 8, "attention": 12, "mlp": 12}
    ),
    "vitamin_small_224": Family(
        {"identity": 32, "projection": 2}, {INVERTED: 6, "attention": 14, "mlp": 14}
    ),
    "tiny_vit_5m_224": Family({"identity": 22}, {INVERTED: 2, "attention": 10, "mlp": 10}),
    "maxvit_tiny_rw_224": Family({"identity": 51, "projection": 4, "gate": 11}),
    "coatnet_nano_rw_224": Family({"identity": 21, "projection": 4, "gate": 7}),
    "nextvit_small": Family({"identity": 2 * 20 + 4, "concat": 4}),
}

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
TEXT = SIZES | {"vocab_size": 64}
GROUPED = TEXT | {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
PIXELS = SIZES | {"image_size": 32, "patch_size": 8}
GPT = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 64, "n_positions": 32}
T5 = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 64, "d_kv": 8, "vocab_size": 64}
BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip
SOUND = SIZES | {
    "conv_dim": (16, 16), "conv_stride": (2, 2), "conv_kernel": (3, 3),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2, "vocab_size": 64,
}  # fmt: skip
ROUTED = GROUPED | {"num_experts_per_tok": 2}

# Two encoder layers with two sublayers each, two decoder layers with three.
BOTH = Family({"identity": 2 * 2 + 2 * 3}, {"attention": 2 + 4, "mlp": 4})
ONE_SUM = Family({"identity": 2}, {"attention": 2})


class Model(NamedTuple):
    """A model of ``transformers``, its config and the kind of input it takes."""

    name: str
    config: str
    options: dict[str, Any]
    takes: str
    answer: Family


HF: dict[str, Model] = {
    "bert": Model("BertModel", "BertConfig", TEXT, "text", encoder(2)),
    "albert": Model("AlbertModel", "AlbertConfig", TEXT, "text", encoder(2)),
    "deberta-v2": Model(
        "DebertaV2Model", "DebertaV2Config",
        TEXT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, "text", encoder(2),
    ),
    "gpt2": Model("GPT2LMHeadModel", "GPT2Config", GPT, "text", encoder(2)),
    # One sum over both branches: (attention + mlp) + x.
    "gpt-j": Model("GPTJForCausalLM", "GPTJConfig", GPT | {"rotary_dim": 4}, "text", ONE_SUM),
    "gpt-neox": Model("GPTNeoXForCausalLM", "GPTNeoXConfig", TEXT, "text", ONE_SUM),
    "phi": Model("PhiForCausalLM", "PhiConfig", TEXT, "text", ONE_SUM),
    # x + attention + mlp: two sums.
    "cohere": Model("CohereForCausalLM", "CohereConfig", GROUPED, "text", encoder(2)),
    "llama": Model("LlamaForCausalLM", "LlamaConfig", GROUPED, "text", encoder(2)),
    "gemma2": Model(
        "Gemma2ForCausalLM", "Gemma2Config", GROUPED | {"head_dim": 8}, "text", encoder(2)
    ),
    "qwen3": Model("Qwen3ForCausalLM", "Qwen3Config", GROUPED, "text", encoder(2)),
    "mixtral": Model(
        "MixtralForCausalLM", "MixtralConfig", ROUTED | {"num_local_experts": 4}, "text", encoder(2)
    ),
    "qwen2-moe": Model(
        "Qwen2MoeForCausalLM", "Qwen2MoeConfig",
        ROUTED | {"num_experts": 4, "moe_intermediate_size": 32,
                  "shared_expert_intermediate_size": 32},
        "text", encoder(2),
    ),
    "switch": Model(
        "SwitchTransformersModel", "SwitchTransformersConfig",
        T5 | {"num_decoder_layers": 2, "num_experts": 2, "num_sparse_encoder_layers": 1,
              "num_sparse_decoder_layers": 1},
        "both", BOTH,
    ),
    "t5": Model("T5Model", "T5Config", T5, "both", BOTH),
    "t5 gated": Model(
        "T5Model", "T5Config", T5 | {"feed_forward_proj": "gated-gelu"}, "both", BOTH
    ),
    "bart": Model("BartModel", "BartConfig", BART, "both", BOTH),
    "whisper": Model(
        "WhisperModel", "WhisperConfig", BART | {"num_mel_bins": 8, "max_source_positions": 16},
        "spectrum", BOTH,
    ),
    # The convolutional position embedding is added to what it is made from.
    "wav2vec2": Model(
        "Wav2Vec2Model", "Wav2Vec2Config", SOUND, "sound",
        Family({"identity": 4 + 1}, {"attention": 2, "mlp": 2, "basic": 1}),
    ),
    # Conformer: half an mlp, attention, convolution, half an mlp.
    "conformer": Model(
        "Wav2Vec2ConformerModel", "Wav2Vec2ConformerConfig",
        SOUND | {"conv_depthwise_kernel_size": 3}, "sound",
        Family({"identity": 8}, {"attention": 2, "mlp": 4, INVERTED: 2}),
    ),
    "vit": Model("ViTModel", "ViTConfig", PIXELS, "image", encoder(2)),
    # FNet mixes by a Fourier transform, which has no parameters: x + F(x) is one linear map.
    "fnet": Model(
        "FNetModel", "FNetConfig",
        {**TEXT, "max_position_embeddings": 32, "use_tpu_fourier_optimizations": False}, "ids",
        Family({"identity": 2}, {"mlp": 2}),
    ),
    # Mamba: x + mixer(x); inside D · u goes past the scan, and u is multiplied by what is
    # computed from it (the selection). The product with silu(z) is one of two halves.
    "mamba": Model(
        "MambaForCausalLM", "MambaConfig",
        {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64, "state_size": 4}, "ids",
        Family({"identity": 2, "scaled": 2, "gate": 2}, {"other": 4}),
    ),
    # RWKV: sums of x and the shifted x are weighted means, no skips.
    "rwkv": Model(
        "RwkvForCausalLM", "RwkvConfig",
        {**TEXT, "attention_hidden_size": 32}, "ids",
        Family({"identity": 4}, {"other": 2, "mlp": 2}),
    ),
    # DETR: a ResNet of 4 bottlenecks with frozen norms, 2 encoder layers; the decoder's
    # stream is no activation before its first mlp, since its queries are parameters.
    "detr": Model(
        "DetrModel", "DetrConfig", BART, "photo",
        Family(
            {"identity": 1 + 4 + 1 + 3, "projection": 3},
            {"bottleneck": 4, "attention": 2 + 2, "mlp": 2 + 2},
        ),
    ),
}  # fmt: skip
