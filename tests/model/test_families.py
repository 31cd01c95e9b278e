"""One architecture of every timm family with feature maps: it builds, learns, saves and loads with RSAM."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import timm
import torch

from rsam_app.config import ModelConfig
from rsam_app.model import build_model, load_model, save_model
from rsam_app.system.errors import UserError


class Member(NamedTuple):
    """A family's smallest architecture, arguments that shrink it further, and the `side` of its images in pixels."""

    name: str
    args: dict[str, Any] = {}  # noqa: RUF012 (a named tuple's default, never written to)
    side: int = 96  # three cells at stride 32: fewer are too alike for a rectangle to learn from


SHORT = [1, 1, 1, 1]


def native_size(side: int) -> dict[str, Any]:
    """Arguments that set a backbone's own input size, at which its features are probed, to `side` pixels."""
    return {"pretrained_cfg_overlay": {"input_size": [3, side, side]}}


FAMILIES = {
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
REFUSED = {
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "efficientformer": "efficientformer_l1",
    "efficientvim": "efficientvim_m1",
    "levit": "levit_128s",
    "mlp_mixer": "gmlp_ti16_224",
    "vision_transformer": "test_vit",
    "vision_transformer_relpos": "test_vit_relpos",
}
CLASSES = ("a", "b", "c")


def test_there_is_an_architecture_of_more_than_sixty_timm_families():
    assert len(FAMILIES) >= 60
    for family, name in [(f, m.name) for f, m in FAMILIES.items()] + list(REFUSED.items()):
        assert name in timm.list_models(module=family), f"{name} is not of {family}"


@pytest.mark.parametrize("family", FAMILIES)
def test_builds_learns_saves_and_loads_bit_for_bit(family, tmp_path):
    torch.manual_seed(0)
    name, args, side = FAMILIES[family]
    model = build_model(ModelConfig(backbone=name, backbone_args=args, weights="none", image_size=side), CLASSES)
    with torch.no_grad():  # the initial state: an even map and zero heads have no gradients
        for parameter in (*model.attention.parameters(), *model.get_classifier().parameters()):
            parameter += 0.2 * torch.randn_like(parameter)
    images = torch.randn(2, 3, side, side)
    output = model.train()(images, return_output=True)
    assert output.logits.shape == (2, 3) and output.rectangle.shape == (2, 5)
    output.logits.square().sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(g).all() for g in gradients.values())
    for parameter, _ in model.attention.named_parameters():
        assert gradients[f"attention.{parameter}"].abs().max() > 0, parameter
    assert any(g.abs().max() > 0 for n, g in gradients.items() if n.startswith("backbone."))

    save_model(model.eval(), tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.channels_first == model.channels_first
    with torch.no_grad():
        before, after = model(images, return_output=True), loaded(images, return_output=True)
    assert torch.equal(before.logits, after.logits) and torch.equal(before.rectangle, after.rectangle)


def test_maps_of_both_memory_layouts_are_among_them():
    last = {"hieradet_sam2": False, "mambaout": False, "swin_transformer": False, "resnet": True}
    for family, channels_first in last.items():
        name, args, side = FAMILIES[family]
        config = ModelConfig(backbone=name, backbone_args=args, weights="none", image_size=side)
        assert build_model(config, CLASSES).channels_first == channels_first


@pytest.mark.parametrize("family", REFUSED)
def test_tokens_and_lists_are_refused_with_a_remedy(family):
    with pytest.raises(UserError, match=f"(?s){REFUSED[family]} gives .*Choose a convnet"):
        build_model(ModelConfig(backbone=REFUSED[family], weights="none"), CLASSES)


def test_an_image_size_that_a_backbone_does_not_take_is_named():
    config = ModelConfig(backbone="test_coatnet", weights="none", image_size=96)
    with pytest.raises(UserError, match=r"(?s)image_size: test_coatnet .* 96 pixels .*image_size: 160.*img_size: 96"):
        build_model(config, CLASSES)
    built = build_model(config.model_copy(update={"backbone_args": {"img_size": 96}}), CLASSES)
    assert built(torch.zeros(2, 3, 96, 96)).shape == (2, 3)
