"""The class map against the class activation map's formula, and rectangles without the head."""

from __future__ import annotations

import pytest
import torch

from rsam_app.config import ModelConfig
from rsam_app.model import AttentiveClassifier, build_model

CLASSES = ("a", "b", "c")


def model_of(backbone: str, **settings: object) -> AttentiveClassifier:
    torch.manual_seed(0)
    return build_model(ModelConfig(backbone=backbone, weights="none", image_size=96, **settings), CLASSES).eval()


def test_with_a_linear_head_it_is_the_class_activation_map() -> None:
    model = model_of("test_resnet")
    features = torch.randn(4, model.num_features, 3, 5)
    classes = torch.tensor([0, 2, 1, 2])
    weight = model.get_classifier().weight - model.get_classifier().weight.mean(dim=0)
    bias = model.get_classifier().bias - model.get_classifier().bias.mean()
    with torch.no_grad():
        expected = torch.einsum("bchw,bc->bhw", features, weight[classes]) + bias[classes][:, None, None]
        torch.testing.assert_close(model.class_map(features, classes), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["test_convnext", "mobilenetv3_small_050", "mambaout_femto"])
def test_other_heads_classify_cell_by_cell(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(backbone)
    with torch.no_grad():
        features, _ = model.maps(torch.randn(2, 3, 96, 96))
        whole = model.class_map(features, torch.tensor([1, 0]))
        monkeypatch.setattr("rsam_app.model.classifier.CELLS_PER_BATCH", 5)
        torch.testing.assert_close(model.class_map(features, torch.tensor([1, 0])), whole, atol=1e-5, rtol=1e-4)
        alone = model.forward_head(features[1:, :, 2:3, 1:2].contiguous())[0]
    assert whole[1, 2, 1].item() == pytest.approx((alone[0] - alone.mean()).item(), abs=1e-4)


@pytest.mark.parametrize("settings", [{}, {"second_look": True}, {"stage": 2}])
def test_locate_returns_the_rectangle_of_inspect(settings: dict[str, object]) -> None:
    model = model_of("test_resnet", **settings)
    images = torch.randn(2, 3, 96 * model.detail, 96 * model.detail)
    with torch.no_grad():
        torch.testing.assert_close(model.locate(images), model.inspect(images).output.rectangle)
    assert model_of("test_resnet", attention="none").locate(torch.randn(1, 3, 96, 96)) is None
