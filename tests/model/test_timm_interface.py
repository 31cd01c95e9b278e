"""timm's tools work on our models as on its own."""

from __future__ import annotations

import pytest
import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay

from rsam_app.config import ModelConfig
from rsam_app.model import AttentiveClassifier, build_model


@pytest.fixture(
    scope="module", params=["resnet10t", "mobilenetv3_small_050", "convnext_atto", "swin_tiny_patch4_window7_224"]
)
def model(request: pytest.FixtureRequest) -> AttentiveClassifier:
    size = 224 if "swin" in request.param else 64
    return build_model(ModelConfig(backbone=request.param, weights="none", image_size=size), ("a", "b", "c"))


def test_stages_are_described_by_the_whole_models_names(model: AttentiveClassifier) -> None:
    for stage in model.feature_info:
        assert stage["num_chs"] > 0
        assert model.get_submodule(stage["module"]) is not None


def test_intermediates_are_the_backbones(model: AttentiveClassifier) -> None:
    side = model.pretrained_cfg["input_size"][-1]
    model.eval()
    with torch.no_grad():
        last, stages = model.forward_intermediates(torch.zeros(1, 3, side, side), indices=2)
    assert [stage.shape[1] for stage in stages] == [info["num_chs"] for info in model.feature_info[-2:]]
    assert last.shape[0] == 1


def test_learning_rates_fall_with_the_depth(model: AttentiveClassifier) -> None:
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    first, head = next(iter(model.backbone.parameters())), next(model.get_classifier().parameters())
    attention = next(model.attention_module.parameters())  # type: ignore[union-attr]
    assert scale[id(first)] < scale[id(attention)] == scale[id(head)] == 1


def test_timms_optimizers_take_it(model: AttentiveClassifier) -> None:
    optimizer = create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.75)
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == len(list(model.parameters()))


def test_gradient_checkpointing_changes_no_gradient(model: AttentiveClassifier) -> None:
    side = model.pretrained_cfg["input_size"][-1]
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    weight = next(iter(model.backbone.parameters()))
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.train()
        torch.manual_seed(0)
        model.zero_grad()
        model(images).square().sum().backward()
        assert weight.grad is not None
        gradients.append(weight.grad.clone())
    model.set_grad_checkpointing(False)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_undecayed_parameters_are_named(model: AttentiveClassifier) -> None:
    names = dict(model.named_parameters())
    assert all(name in names for name in model.no_weight_decay() if "relative" not in name)
