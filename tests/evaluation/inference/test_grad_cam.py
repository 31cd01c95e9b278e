"""Grad-CAM against autograd, its boxes by hand, its figures against those of rectangles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rsam_app.config import ModelConfig
from rsam_app.data.records import Dataset, Record
from rsam_app.evaluation.inference.grad_cam import cam_from_gradients, grad_cam, grad_cam_maps, map_box, upsample
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.robustness.map_localization import boxes_of_maps, map_localization
from rsam_app.model import AttentiveClassifier, build_model

DEVICE = torch.device("cpu")


@pytest.fixture(scope="module")
def plain() -> AttentiveClassifier:
    torch.manual_seed(0)
    config = ModelConfig(backbone="mobilenetv2_035", weights="none", attention="none", image_size=64)
    model = build_model(config, ("a", "b", "c", "d")).eval()
    torch.nn.init.normal_(model.get_classifier().weight)
    return model


def test_the_maps_are_those_of_the_equations(plain: AttentiveClassifier) -> None:
    images = torch.randn(3, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    features = plain.forward_features(images).detach().requires_grad_()
    logits = plain.forward_head(features)
    gradients = torch.autograd.grad(logits.amax(dim=1).sum(), features)[0]
    expected = torch.stack(
        [sum(g[c].mean() * f[c] for c in range(len(f))).clamp_min(0) for f, g in zip(features, gradients, strict=True)]
    ).detach()
    assert expected.shape == (3, 3, 2)
    torch.testing.assert_close(cam_from_gradients(features.detach(), gradients), expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(grad_cam(plain, images), expected, rtol=1e-4, atol=1e-7)


def test_of_pooled_features_the_classifiers_weights_are_the_gradients(plain: AttentiveClassifier) -> None:
    """As in the benchmark on cached features: the same map up to a factor, and so the same boxes."""
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        features = plain.forward_features(images)
        predicted = plain.forward_head(features).argmax(dim=1)
    weights = plain.get_classifier().weight[predicted][..., None, None].detach()
    cells = features.shape[2] * features.shape[3]
    torch.testing.assert_close(cam_from_gradients(features, weights) / cells, grad_cam(plain, images))


@pytest.mark.parametrize("attention", ["rsam", "positionwise"])
def test_it_works_through_attention_too(attention: str) -> None:
    config = ModelConfig(backbone="mobilenetv2_035", weights="none", attention=attention, image_size=64)
    model = build_model(config, ("a", "b")).eval()
    maps = grad_cam(model, torch.randn(2, 3, 64, 64))
    assert maps.shape == (2, 2, 2)
    assert (maps >= 0).all()


def test_maps_are_in_the_records_order_whatever_the_batch(plain: AttentiveClassifier, dataset: Dataset) -> None:
    records = dataset.split("test")
    before = [p.grad for p in plain.parameters()]
    maps = grad_cam_maps(ModelRunner(plain, DEVICE, batch_size=3), records)
    alone = grad_cam_maps(ModelRunner(plain, DEVICE, batch_size=1), records[4:5])
    assert len(maps) == len(records)
    np.testing.assert_allclose(maps[4], alone[0], rtol=1e-3, atol=1e-7)
    assert [p.grad for p in plain.parameters()] == before


def test_the_box_is_around_the_largest_part_above_the_threshold() -> None:
    soft = np.zeros((20, 30))
    soft[2:4, 3:5] = 1.0  # the peak, four cells
    soft[10:16, 12:20] = 0.5  # larger, 48 cells
    soft[10, 25] = 0.14
    np.testing.assert_array_equal(map_box(soft), [12, 10, 20, 16])
    np.testing.assert_array_equal(map_box(soft, threshold=0.6), [3, 2, 5, 4])
    np.testing.assert_array_equal(map_box(np.zeros((4, 4))), np.zeros(4))


def boxed(left: float, top: float, width: float, height: float) -> Record:
    return Record("a", Path("a"), "x", "test", 200, 100, boxes=((left, top, width, height),))


def test_a_map_that_is_the_object_scores_one_and_an_empty_one_nothing() -> None:
    record = boxed(50, 25, 50, 25)
    exact = np.zeros((224, 224), np.float32)
    exact[56:112, 56:112] = 1  # the box in a map over the whole image
    empty = np.zeros((224, 224), np.float32)
    np.testing.assert_allclose(boxes_of_maps(exact[None], np.array([[200.0, 100]]), 0.15)[0], [75, 37.5, 50, 25, 0])
    found = map_localization(np.stack([exact, empty]), [record, record], [record])
    assert found["mean_iou"] == pytest.approx(0.5)
    assert found["share_iou_50"] == 0.5
    assert found["max_box_acc_v2"] == 0.5
    assert found["n_empty"] == 1
    assert found["centre_box_mean_iou"] == pytest.approx(1)
    assert found["energy_inside"] == pytest.approx(1)
    assert found["pointing_game"] == 0.5
    assert found["boxes_from"] == "boxes"
    assert "masks" not in found and "px_ap" not in found


def test_a_map_is_scored_by_the_masks_box_and_by_its_pixels(tmp_path: Path) -> None:
    """The mask is the left three quarters of the box that the map fills, and a pixel column at its right edge."""
    region = np.zeros((100, 200), dtype=np.uint8)
    region[25:50, 50:87] = region[25:50, 99:100] = 1
    Image.fromarray(region).save(tmp_path / "m.png")
    record = replace(boxed(50, 25, 50, 25), boxes=(), mask=tmp_path / "m.png")
    exact = np.zeros((1, 224, 224), np.float32)
    exact[0, 56:112, 56:112] = 1
    found = map_localization(exact, [record], [record])
    assert (found["truth"], found["boxes_from"], found["n"]) == ("boxes", "masks", 1)
    assert found["mean_iou"] == found["centre_box_mean_iou"] == pytest.approx(1)
    assert found["masks"]["mean_iou"] == found["masks"]["centre_box_mean_iou"] == pytest.approx(38 / 50)
    assert found["masks"]["full_image_mean_iou"] == pytest.approx(38 * 25 / 20_000)
    assert 0.7 < found["masks"]["px_ap"] < 0.8


def test_the_pointing_game_is_played_with_the_maximum() -> None:
    soft = np.full((7, 7), 0.5, np.float32)
    soft[0, 6] = 1.0
    far, near = boxed(0, 60, 40, 40), boxed(170, 0, 30, 20)
    assert map_localization(soft[None], [far], [far])["pointing_game"] == 0
    assert map_localization(soft[None], [near], [near])["pointing_game"] == 1


def test_upsampling_keeps_the_map_over_the_whole_image() -> None:
    soft = np.array([[[0.0, 1.0]]], np.float32).repeat(2, axis=1)
    large = upsample(soft, 8)[0]
    assert large.shape == (8, 8)
    np.testing.assert_allclose(large, 1 - large[:, ::-1], atol=1e-6)  # symmetric
