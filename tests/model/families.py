"""One architecture of every family of timm's: its module's smallest, or a larger one shrunk by its arguments."""

from __future__ import annotations

from typing import Any, NamedTuple


class Member(NamedTuple):
    """A family's smallest architecture, arguments that shrink it further, and the `side` of its images in pixels."""

    name: str
    args: dict[str, Any] = {}  # noqa: RUF012 (a named tuple's default, never written to)
    side: int = 96  # three cells at stride 32: fewer are too alike for a rectangle to learn from


SHORT = [1, 1, 1, 1]


def native_size(side: int) -> dict[str, Any]:
    """Arguments that set a backbone's own input size, at which its features are probed, to `side` pixels."""
    return {"pretrained_cfg_overlay": {"input_size": [3, side, side]}}


MAPS = {
    "byoanet": Member("lambda_resnet26t"),
    "byobnet": Member("test_byobnet"),
    "convmixer": Member("convmixer_768_32", {}, 32),
    "convnext": Member("test_convnext"),
    "cpubone": Member("cpubone_nano"),
    "csatv2": Member("csatv2", native_size(128), 160),
    "cspnet": Member("cs3darknet_focus_s"),
    "cspnext": Member("cspnext_tiny"),
    "davit": Member("davit_tiny", {"depths": SHORT, "embed_dims": [24, 48, 72, 96], "num_heads": [1, 2, 3, 4]}),
    "densenet": Member("densenet121", {"growth_rate": 8, "block_config": [2, 2, 2, 2]}),
    "dla": Member("dla46x_c"),
    "dpn": Member("dpn48b"),
    "edgenext": Member("edgenext_xx_small"),
    "efficientformer_v2": Member("efficientformerv2_s0", {"img_size": 96}),
    "efficientnet": Member("test_efficientnet"),
    "efficientvit_mit": Member("efficientvit_b0"),
    "efficientvit_msra": Member("efficientvit_m0", {}, 192),
    "fasternet": Member("fasternet_t0"),
    "fastvit": Member("fastvit_t8"),
    "focalnet": Member("focalnet_tiny_srf"),
    "gcvit": Member("gcvit_xxtiny", {"img_size": 96}),
    "ghostnet": Member("ghostnet_050"),
    "hardcorenas": Member("hardcorenas_a"),
    "hgnet": Member("hgnetv2_b0"),
    "hieradet_sam2": Member("sam2_hiera_tiny", {"embed_dim": 32, **native_size(96)}),
    "hrnet": Member("hrnet_w18_small"),
    "iformer": Member("iformer_t"),
    "inception_next": Member("inception_next_atto"),
    "inception_resnet_v2": Member("inception_resnet_v2", native_size(128), 160),
    "inception_v3": Member("inception_v3", native_size(128), 160),
    "inception_v4": Member("inception_v4", native_size(128), 160),
    "lcnetv2": Member("lcnetv2_small"),
    "lowformer": Member("lowformer_b0"),
    "mambaout": Member("test_mambaout"),
    "maxxvit": Member("test_coatnet", {"img_size": 96}),
    "metaformer": Member("poolformerv2_s12"),
    "mobilenetv3": Member("lcnet_035"),
    "mobilevit": Member("mobilevit_xxs"),
    "nasnet": Member("nasnetalarge", {"stem_size": 24, "num_features": 1056, **native_size(96)}),
    "nest": Member("nest_tiny", {"img_size": 96}),
    "nextvit": Member("nextvit_small"),
    "nfnet": Member("test_nfnet"),
    "pvt_v2": Member("pvt_v2_b0"),
    "rdnet": Member("rdnet_tiny"),
    "regnet": Member("regnetx_002"),
    "repghost": Member("repghostnet_050"),
    "repvit": Member("repvit_m0_9"),
    "res2net": Member("res2next50", {"layers": SHORT}),
    "resnest": Member("resnest14d"),
    "resnet": Member("test_resnet"),
    "resnetv2": Member("resnetv2_18", {"layers": SHORT}),
    "rexnet": Member("rexnet_100"),
    "selecsls": Member("selecsls42"),
    "senet": Member("legacy_seresnet18"),
    "sequencer": Member("sequencer2d_s", {"img_size": 96, "layers": SHORT, "embed_dims": [48, 96, 96, 96]}),
    "shvit": Member("shvit_s1", {}, 192),
    "sknet": Member("skresnet18", {"layers": SHORT}),
    "starnet": Member("starnet_s050"),
    "swiftformer": Member("swiftformer_xs"),
    "swin_transformer": Member(
        "swin_tiny_patch4_window7_224", {"img_size": 96, "depths": SHORT, "embed_dim": 24, "num_heads": [1, 2, 4, 8]}
    ),
    "swin_transformer_v2": Member(
        "swinv2_tiny_window8_256", {"img_size": 96, "depths": SHORT, "embed_dim": 24, "num_heads": [1, 2, 4, 8]}
    ),
    "swin_transformer_v2_cr": Member(
        "swinv2_cr_tiny_224", {"img_size": 96, "depths": SHORT, "embed_dim": 24, "num_heads": [1, 2, 4, 8]}
    ),
    "tiny_vit": Member("tiny_vit_5m_224"),
    "tresnet": Member("tresnet_m", {"layers": SHORT, "width_factor": 0.5}),
    "vgg": Member("vgg11", {"mlp_ratio": 0.02}),
    "visformer": Member("visformer_tiny", {"img_size": 96}),
    "vovnet": Member("ese_vovnet19b_slim_dw"),
    "xception": Member("legacy_xception", native_size(96)),
    "xception_aligned": Member("xception41p", native_size(96)),
}
"""Families whose features are maps."""

TOKENS = {
    "beit": Member("beit_base_patch16_224", {"img_size": 96, "depth": 2, "embed_dim": 48, "num_heads": 4}),
    "cait": Member("cait_xxs24_224", {"img_size": 96, "depth": 2}),
    "coat": Member("coat_tiny", {"img_size": 96}),
    "convit": Member("convit_tiny", {"img_size": 96, "depth": 3, "local_up_to_layer": 2}),
    "crossvit": Member("crossvit_tiny_240", {}, 240),
    "deit": Member("deit_tiny_distilled_patch16_224", {"img_size": 96, "depth": 2}),
    "efficientformer": Member("efficientformer_l1", {}, 224),
    "eva": Member("vit_small_patch16_dinov3", {"img_size": 96, "depth": 2}),
    "hiera": Member("hiera_tiny_224", {"embed_dim": 16, "stages": [1, 1, 2, 1]}, 224),
    "levit": Member("levit_128s", {}, 224),
    "mlp_mixer": Member("gmlp_ti16_224", {"img_size": 96}),
    "mvitv2": Member("mvitv2_tiny", {"img_size": 96}),
    "naflexvit": Member("naflexvit_base_patch16_parfac_gap", {"depth": 2, "embed_dim": 48, "num_heads": 4}),
    "tnt": Member("tnt_s_legacy_patch16_224", {"img_size": 96, "depth": 2}),
    "twins": Member("twins_svt_small", {"img_size": 96, "depths": SHORT}),
    "vision_transformer": Member("vit_small_patch14_reg4_dinov2", {"img_size": 98, "depth": 2}, 98),
    "vision_transformer_hybrid": Member("vit_tiny_r_s16_p8_224", {"img_size": 96, "depth": 2}),
    "vision_transformer_relpos": Member("test_vit_relpos", {"img_size": 96}),
    "vitamin": Member("vitamin_small_224", {"img_size": 96, "depth": 2}),
    "volo": Member("volo_d1_224", {"img_size": 96}),
    "xcit": Member("xcit_nano_12_p8_224", {"img_size": 96, "depth": 2}),
}
"""Families whose features are tokens, or lists of them."""

REFUSED = {"efficientvim": "efficientvim_m1", "pit": "pit_ti_224"}
"""Families without a grid of patches behind them."""
