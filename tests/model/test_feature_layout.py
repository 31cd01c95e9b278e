"""Tokens as a map: what a head reads, that a mask of ones changes nothing, and where each cell lies."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from rsam_app.config import ModelConfig
from rsam_app.evaluation.inference.grad_cam import grad_cam
from rsam_app.model import AttentiveClassifier, build_model, load_model, save_model
from rsam_app.model.attention.gating import gate
from rsam_app.model.feature_layout import TokenLayout, grid_of
from rsam_app.system.errors import UserError
from tests.model.families import TOKENS

CLASSES = ("a", "b", "c")
READ = {
    "vit_small_patch14_reg4_dinov2": ({"img_size": 70, "depth": 2}, 70, 5, (0,), False),
    "vit_small_patch16_dinov3": ({"img_size": 64, "depth": 2}, 64, 5, (), True),
    "vit_base_patch16_siglip_224": ({"img_size": 64, "depth": 2, "embed_dim": 64, "num_heads": 4}, 64, 0, (), True),
    "vit_pe_core_tiny_patch16_384": ({"img_size": 64, "depth": 2}, 64, 1, (0,), True),
    "eva02_tiny_patch14_224": ({"img_size": 70, "depth": 2}, 70, 1, (), True),
    "deit_tiny_distilled_patch16_224": ({"img_size": 64, "depth": 2}, 64, 2, (0, 1), False),
    "volo_d1_224": ({"img_size": 64}, 64, 1, (0,), True),
    "test_vit_relpos": ({"img_size": 96}, 96, 0, (), True),
}
"""Arguments, side, prefix tokens, those of them that the head reads, and whether it reads patches."""
FEW = ["vit_small_patch14_reg4_dinov2", "vit_base_patch16_siglip_224", "vit_pe_core_tiny_patch16_384"]


def model_of(backbone: str, **settings: object) -> AttentiveClassifier:
    torch.manual_seed(0)
    args, side, *_ = READ[backbone]
    config = ModelConfig(backbone=backbone, backbone_args=args, weights="none", image_size=side, **settings)
    model = build_model(config, CLASSES).eval()
    with torch.no_grad():  # heads that start at zero would agree whatever they read
        for parameter in model.get_classifier().parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def images_for(model: AttentiveClassifier, count: int = 2) -> torch.Tensor:
    side = model.pretrained_cfg["input_size"][-1]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backbone", READ)
def test_a_mask_of_ones_leaves_the_networks_own_logits(backbone: str) -> None:
    model = model_of(backbone, attention="none")
    _, _, prefix, read, reads_patches = READ[backbone]
    assert isinstance(model.layout, TokenLayout)
    (entry,) = model.layout.entries
    assert (entry.prefix, entry.read, model.layout.reads_patches) == (prefix, read, reads_patches)
    images = images_for(model)
    with torch.no_grad():
        features = model.forward_features(images)
        own, embedding = (
            model.backbone(images),
            model.backbone.forward_head(model.backbone.forward_features(images), True),
        )
        assert own.abs().max() > 0.05
        torch.testing.assert_close(model(images), own, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.inspect(images).embedding, embedding, atol=1e-5, rtol=1e-5)
        ones = torch.ones(2, *features.shape[2:])
        torch.testing.assert_close(model.forward_head(gate(features, ones)), own, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", READ)
def test_a_mask_decides_which_patches_reach_the_head(backbone: str) -> None:
    model = model_of(backbone, attention="none")
    with torch.no_grad():
        features = model.forward_features(images_for(model))
        mask = torch.zeros(2, *features.shape[2:])
        mask[:, 1:, :2] = 1
        seen = model.forward_head(gate(features, mask), pre_logits=True)
        assert not torch.allclose(seen, model.forward_head(features, pre_logits=True), atol=1e-4)
        hidden = features.clone()
        hidden[:, :, 0] = 7.0  # outside the mask
        torch.testing.assert_close(model.forward_head(gate(hidden, mask), pre_logits=True), seen, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["deit", "eva", "hiera", "twins", "vision_transformer", "xcit"])
def test_each_cell_lies_where_timm_puts_its_patch(family: str) -> None:
    torch.manual_seed(0)
    name, args, side = TOKENS[family]
    config = ModelConfig(backbone=name, backbone_args=args, weights="none", image_size=side, attention="none")
    model = build_model(config, CLASSES).eval()
    images = torch.randn(1, 3, side, side)
    images[:, :, : side // 3, : side // 2] *= 5
    with torch.no_grad():
        features = model.forward_features(images)
        (stage,) = model.backbone.forward_intermediates(images, indices=1, intermediates_only=True)
    assert features.shape[2:] == stage.shape[2:]
    last = features[:, : stage.shape[1]]  # a distilled network has a map for each of its two tokens
    ours, theirs = ((f - f.mean(dim=(2, 3), keepdim=True)).flatten(2)[0] for f in (last, stage))
    alike = F.normalize(ours, dim=0).T @ F.normalize(theirs, dim=0)
    assert (alike.argmax(dim=1) == torch.arange(alike.shape[0])).float().mean() > 0.9


@pytest.mark.parametrize(
    "settings", [{"attention": "positionwise"}, {"attention": "conv_map"}, {"predictor": "profiles"}]
)
@pytest.mark.parametrize("backbone", FEW)
def test_every_attention_learns_and_reloads(backbone: str, settings: dict[str, str], tmp_path: Path) -> None:
    model = model_of(backbone, **settings)
    with torch.no_grad():
        for parameter in model.attention.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    images = images_for(model)
    model(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.attention.parameters())
    save_model(model, tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "model")(images), model(images))


@pytest.mark.parametrize("backbone", FEW)
def test_parts_evidence_and_second_look_have_their_shapes(backbone: str) -> None:
    model = model_of(backbone, second_look=True)
    images = images_for(model)
    side = images.shape[2] // 2
    cells = side // model.backbone.patch_embed.patch_size[0]
    with torch.no_grad():
        seen = model.inspect(images)
        evidence = model.class_map(seen.features, torch.tensor([0, 2]))
    assert seen.output.view_logits.shape == (2, 2, 3) and seen.output.mask.shape == (2, cells, cells)
    assert not torch.allclose(seen.inside_logits, seen.outside_logits, atol=1e-5)
    assert evidence.shape == (2, cells, cells) and evidence.std() > 0


@pytest.mark.parametrize("attention", ["rsam", "none"])
@pytest.mark.parametrize("backbone", FEW)
def test_grad_cam_is_on_the_grid_of_patches(backbone: str, attention: str) -> None:
    model = model_of(backbone, attention=attention)
    maps = grad_cam(model, images_for(model))
    assert maps.shape[0] == 2 and maps.shape[1] == maps.shape[2] > 3
    assert torch.isfinite(maps).all() and maps.amax() > 0


def test_weights_are_resampled_to_another_input_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file, args = tmp_path / "weights.safetensors", {"depth": 2}
    save_file(timm.create_model("vit_tiny_patch16_224", **args).state_dict(), file)
    config = ModelConfig(backbone="vit_tiny_patch16_224", backbone_args=args, weights=str(file), image_size=96)
    with pytest.raises(UserError, match=r"(?s)image_size: vit_tiny.* 96 pixels .*image_size: 224.*img_size: 96"):
        build_model(config, CLASSES)
    model = build_model(config.model_copy(update={"backbone_args": {**args, "img_size": 96}}), CLASSES).eval()
    assert model.pretrained["arrived"] == 1.0 and model.backbone.pos_embed.shape[1] == 1 + 6 * 6
    assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_a_stage_of_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("RSAM_WEIGHTS", raising=False)
    for weights in ("none", "timm"):
        with pytest.raises(UserError, match="stage: test_vit normalises each token"):
            build_model(ModelConfig(backbone="test_vit", weights=weights, image_size=160, stage=1), CLASSES)


def test_a_factor_on_patches_counts_behind_the_last_norm_only() -> None:
    """Patches outside a quarter of the image times .05: the class token's relative change before the last block, where
    the block's norm undoes it, and in the last attention, behind that norm."""
    torch.manual_seed(0)
    backbone = timm.create_model("vit_tiny_patch16_224").eval()
    shares = torch.ones(14, 14)
    shares[7:], shares[:, 7:] = 0.05, 0.05
    shares = torch.cat([torch.ones(1), shares.flatten()])[:, None]
    images = torch.randn(1, 3, 224, 224)

    def token(gated: torch.nn.Module | None) -> torch.Tensor:
        def gate_input(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return (inputs[0] * shares, *inputs[1:])

        hook = gated.register_forward_pre_hook(gate_input) if gated else None
        with torch.no_grad():
            found = backbone.forward_features(images)[:, 0]
        if hook:
            hook.remove()
        return found

    plain, last = token(None), backbone.blocks[-1]
    before, behind = (float((token(g) - plain).norm() / plain.norm()) for g in (last, last.attn))
    assert before < 1e-4 and behind > 1000 * before


def test_grids_follow_the_images_proportions() -> None:
    assert grid_of(196, (224, 224)) == (14, 14) and grid_of(96, (128, 192)) == (8, 12)
    with pytest.raises(ValueError, match="97 tokens are not a grid"):
        grid_of(97, (128, 192))
