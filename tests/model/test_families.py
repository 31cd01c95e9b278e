"""One architecture of every timm family: it builds, learns, saves and loads with RSAM, or is refused by name."""

from __future__ import annotations

import re

import pytest
import timm
import torch

from rsam_app.config import ModelConfig
from rsam_app.model import build_model, load_model, save_model
from rsam_app.system.errors import UserError
from tests.model.families import MAPS, REFUSED, TOKENS

CLASSES = ("a", "b", "c")
TRIED = MAPS | {
    family: TOKENS[family]
    for family in ("beit", "coat", "deit", "eva", "hiera", "levit", "naflexvit", "vision_transformer", "volo", "xcit")
}
"""The other families of tokens are tried by `benchmarks/backbone_families.py`."""


def test_there_is_an_architecture_of_more_than_sixty_timm_families():
    assert len(MAPS) >= 60 and len(TOKENS) >= 20
    for family, name in [(f, m.name) for f, m in (MAPS | TOKENS).items()] + list(REFUSED.items()):
        assert name in timm.list_models(module=family), f"{name} is not of {family}"


@pytest.mark.parametrize("family", TRIED)
def test_builds_learns_saves_and_loads_bit_for_bit(family, tmp_path):
    torch.manual_seed(0)
    name, args, side = TRIED[family]
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
        name, args, side = MAPS[family]
        config = ModelConfig(backbone=name, backbone_args=args, weights="none", image_size=side)
        assert build_model(config, CLASSES).channels_first == channels_first


@pytest.mark.parametrize("weights", ["none", "timm"])
@pytest.mark.parametrize("family", REFUSED)
def test_what_has_no_grid_is_refused_with_the_nearest_that_has(family, weights, monkeypatch):
    monkeypatch.delenv("RSAM_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # before anything is downloaded, or this would be another refusal
    name = REFUSED[family]
    with pytest.raises(UserError, match=f"(?s)^model.backbone: {name} gives .*\\nChoose .* e.g. ") as raised:
        build_model(ModelConfig(backbone=name, weights=weights), CLASSES)
    for named in re.findall(r"\w+_\w+", str(raised.value).partition("Choose")[2]):
        assert build_model(ModelConfig(backbone=named, weights="none"), CLASSES).layout.channels


def test_an_image_size_that_a_backbone_does_not_take_is_named():
    config = ModelConfig(backbone="test_coatnet", weights="none", image_size=96)
    with pytest.raises(UserError, match=r"(?s)image_size: test_coatnet .* 96 pixels .*image_size: 160.*img_size: 96"):
        build_model(config, CLASSES)
    built = build_model(config.model_copy(update={"backbone_args": {"img_size": 96}}), CLASSES)
    assert built(torch.zeros(2, 3, 96, 96)).shape == (2, 3)
