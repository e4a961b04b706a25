"""timm: one small architecture of every module it has, from scratch, at a small input."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.gauntlet.cases import Case, Given, given

# Module of timm.models: a small model of it. Models with no fixed input size get 64 pixels.
_MODELS = """
beit:beitv2_base_patch16_224 byoanet:halonet26t byoanet:botnet26t_256 byobnet:gcresnext26ts
byobnet:repvgg_a0 byobnet:mixnet_s cait:cait_xxs24_224 coat:coat_tiny coat:coat_lite_tiny
convit:convit_tiny convmixer:convmixer_768_32 convnext:convnext_atto convnext:convnextv2_atto
cpubone:cpubone_t0 crossvit:crossvit_9_dagger_240 csatv2:csatv2 cspnet:cspresnet50
cspnet:cs3darknet_focus_s cspnext:cspnext_tiny davit:davit_tiny deepseek_vit:deepseek_vit_412m
deit:deit3_small_patch16_224 deit:deit_tiny_distilled_patch16_224 densenet:densenetblur121d
dla:dla46x_c dla:dla60_res2next dpn:dpn48b edgenext:edgenext_xx_small
efficientformer:efficientformer_l1 efficientformer_v2:efficientformerv2_s0
efficientnet:mnasnet_small efficientnet:efficientnetv2_rw_t efficientnet:mixnet_s
efficientvim:efficientvim_m1 efficientvit_mit:efficientvit_b0 efficientvit_msra:efficientvit_m0
eva:eva02_tiny_patch14_224 fasternet:fasternet_t0 fastvit:fastvit_t8 focalnet:focalnet_tiny_srf
gcvit:gcvit_xxtiny gemma4_vit:gemma4_vit_167m ghostnet:ghostnet_050 ghostnet:ghostnetv3_050
hardcorenas:hardcorenas_a hgnet:hgnetv2_b0 hiera:hiera_tiny_224 hieradet_sam2:hieradet_small
hrnet:hrnet_w18_small iformer:iformer_t inception_next:inception_next_atto
inception_resnet_v2:inception_resnet_v2 inception_v3:inception_v3 inception_v4:inception_v4
lcnetv2:lcnetv2_small levit:levit_128s lowformer:lowformer_b0 mambaout:mambaout_femto
maxxvit:maxvit_rmlp_pico_rw_256 maxxvit:coatnet_pico_rw_224 metaformer:caformer_s18
metaformer:poolformerv2_s12 mlp_mixer:mixer_s32_224 mlp_mixer:gmlp_ti16_224
mlp_mixer:resmlp_12_224 mobilenetv3:mobilenetv3_small_050 mobilenetv3:fbnetv3_b
mobilenetv5:mobilenetv5_base mobilevit:mobilevit_xxs mobilevit:mobilevitv2_050 mvitv2:mvitv2_tiny
naflexvit:naflexvit_base_patch16_gap nasnet:nasnetalarge nest:nest_tiny nextvit:nextvit_small
nfnet:nfnet_l0 nfnet:eca_nfnet_l0 pit:pit_ti_distilled_224 pnasnet:pnasnet5large pvt_v2:pvt_v2_b0
qwen3_vit:qwen3_vit_88m rdnet:rdnet_tiny regnet:regnety_002 regnet:regnetz_005
repghost:repghostnet_050 repvit:repvit_m1 res2net:res2net50_14w_8s resnest:resnest14d
resnet:ecaresnet26t resnet:seresnext26d_32x4d resnet:resnetaa50d resnetv2:resnetv2_50d_gn
rexnet:rexnet_100 selecsls:selecsls42b senet:legacy_seresnext26_32x4d sequencer:sequencer2d_s
shvit:shvit_s1 sknet:skresnet18 starnet:starnet_s050 swiftformer:swiftformer_xs
swin_transformer:swin_tiny_patch4_window7_224 swin_transformer_v2:swinv2_tiny_window8_256
swin_transformer_v2_cr:swinv2_cr_tiny_ns_224 tiny_vit:tiny_vit_5m_224 tnt:tnt_s_patch16_224
tresnet:tresnet_m twins:twins_pcpvt_small twins:twins_svt_small vgg:vgg11_bn
visformer:visformer_tiny vision_transformer:vit_tiny_patch16_224
vision_transformer:vit_small_patch14_reg4_dinov2 vision_transformer:vit_base_patch16_siglip_224
vision_transformer_hybrid:vit_tiny_r_s16_p8_224 vision_transformer_relpos:test_vit_relpos
vision_transformer_sam:samvit_base_patch16_224 vitamin:vitamin_small_224 volo:volo_d1_224
vovnet:ese_vovnet19b_dw xception:legacy_xception xception_aligned:xception41p
xcit:xcit_nano_12_p16_224
"""
# Where 64 pixels are too few, or the size decides the weights.
_SIZES = {
    "coatnet_pico_rw_224": 224, "convit_tiny": 224, "csatv2": 256, "davit_tiny": 64,
    "deepseek_vit_412m": 112, "gemma4_vit_167m": 96, "halonet26t": 256, "hieradet_small": 64,
    "inception_v3": 80, "inception_v4": 80, "inception_resnet_v2": 80, "nasnetalarge": 64,
    "qwen3_vit_88m": 64,
}  # fmt: skip
# Where a published depth only costs time.
_ARGUMENTS = {"deepseek_vit_412m": {"depth": 4}, "gemma4_vit_167m": {"depth": 4}}
_SHORT = ("convnext_atto", "mobilevit_xxs", "regnety_002", "starnet_s050")


def build(name: str) -> nn.Module:
    """The model, with no weights to download."""
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, **_ARGUMENTS.get(name, {}))
    return model


def _image(name: str) -> Given:
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    size = _SIZES.get(name, config.input_size[-1] if config.fixed_input_size else 64)
    return given(torch.randn(1, 3, size, size))


def _case(module: str, name: str) -> Case:
    return Case(
        name=f"timm/{name}",
        family=module,
        model=lambda: build(name),
        inputs=lambda: _image(name),
        short=name in _SHORT,
    )


CASES: dict[str, Case] = {
    case.name: case for case in (_case(*entry.split(":")) for entry in _MODELS.split())
}
