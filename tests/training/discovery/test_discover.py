"""Discovered objects: cut at the image's edges, one rectangle each, independent of the number of threads."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.attention import RSAM
from rsam_app.training.discovery import discover
from rsam_app.training.discovery.discover import SIDE, cut_out, fit_rectangle
from rsam_app.training.discovery.objectness import feature_scale, fit_objectness, largest_part, learn_objectness
from rsam_app.training.warm_start import fit_attention


def ellipse(cx: float, cy: float, length: float, breadth: float, degrees: float) -> np.ndarray:
    """A filled ellipse's mask `(SIDE, SIDE)`."""
    drawn = np.zeros((SIDE, SIDE), dtype=np.uint8)
    cv2.ellipse(drawn, (round(cx), round(cy)), (round(length / 2), round(breadth / 2)), degrees, 0, 360, 1, -1)
    return drawn.astype(bool)


def photographs(masks: list[np.ndarray]) -> np.ndarray:
    draws = np.random.default_rng(0)
    images = []
    for mask in masks:
        image = np.where(mask[..., None], (200, 120, 40), (60, 110, 70)) + draws.normal(0, 12, (SIDE, SIDE, 3))
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return np.stack(images)


MASKS = [ellipse(50, 60, 70, 30, 25), ellipse(80, 70, 50, 40, -50), ellipse(64, 40, 60, 24, 0)]


def coarse(masks: list[np.ndarray], shift: int = 6) -> np.ndarray:
    """Probabilities on a 14 × 14 map, shifted from the truth."""
    moved = [np.roll(m.astype(np.float32), shift, axis=1) for m in masks]
    return np.stack([0.03 + 0.94 * cv2.resize(cv2.GaussianBlur(m, (0, 0), 6), (14, 14)) for m in moved])


def test_the_cut_follows_the_object_better_than_the_coarse_map():
    found = cut_out(photographs(MASKS), coarse(MASKS), (0.02, 0.98), seed=0)
    for mask, cut, start in zip(MASKS, found, coarse(MASKS), strict=True):
        rough = cv2.resize(start, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) > 0.5
        assert (mask & cut).sum() / (mask | cut).sum() > 0.9 > (mask & rough).sum() / (mask | rough).sum()


def test_the_cut_does_not_depend_on_the_number_of_threads(monkeypatch):
    many = cut_out(photographs(MASKS), coarse(MASKS), (0.02, 0.98), seed=0)
    monkeypatch.setattr(discover, "available_cores", lambda: 1)
    alone = cut_out(photographs(MASKS), coarse(MASKS), (0.02, 0.98), seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(many, alone, strict=True))


def test_where_all_probabilities_are_zero_it_does_not_look():
    """The same object twice, one of them where no probability points; its pixels are not even read."""
    mask = ellipse(90, 90, 50, 30, 0)
    image = photographs([mask | ellipse(30, 30, 50, 30, 0)])
    probabilities = np.where(cv2.resize(mask.astype(np.float32), (14, 14)) > 0, coarse([mask], shift=0), 0)
    other = image.copy()
    other[:, :48, :48] = 0
    found, again = (cut_out(one, probabilities, (0.02, 0.98), seed=0)[0] for one in (image, other))
    assert not found[:60, :60].any() and (mask & found).sum() / (mask | found).sum() > 0.8
    assert np.array_equal(found, again)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_or_everything_needs_no_cut_and_has_no_rectangle(value):
    even = np.full((1, 14, 14), value, dtype=np.float32)
    cut = cut_out(photographs(MASKS[:1]), even, (0.02, 0.98), seed=0)
    assert cut[0].mean() == value
    assert fit_rectangle(cut[0], even[0], 200, 100) is None


def test_the_rectangle_has_the_masks_angle_and_its_box_the_masks_size():
    mask = ellipse(60, 70, 80, 30, 30)
    cx, cy, width, height, angle = fit_rectangle(mask, coarse([mask], shift=0)[0], SIDE * 2, SIDE * 2)
    assert angle == pytest.approx(math.radians(30), abs=0.05)
    assert (cx, cy) == pytest.approx((120, 140), abs=4)
    box = geometry.bounding_boxes(torch.tensor([[cx, cy, width, height, angle]]))[0]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    area = 4 * (rows[-1] - rows[0]) * (columns[-1] - columns[0])
    assert float(box[2] * box[3]) == pytest.approx(area, rel=0.2)


def test_objectness_finds_what_many_images_share():
    """Noisy features with their greatest variance between object and background."""
    draws = torch.Generator().manual_seed(0)
    masks = torch.stack([torch.from_numpy(cv2.resize(m.astype(np.float32), (14, 14)) > 0.5) for m in MASKS * 12])
    features = torch.randn(36, 8, 14, 14, generator=draws) * 0.5
    features[:, 3] += 3 * masks
    learned = learn_objectness(features, 8, seed=0)
    found = learned.probability(features) > 0.5
    assert float((found == masks).float().mean()) > 0.97
    assert float((learned.with_share(features, 0.1).score(features) > 0).float().mean()) == pytest.approx(0.1, abs=0.01)
    soft = fit_objectness(features, masks.float(), feature_scale(features), seed=0)
    assert float(((soft.probability(features) > 0.5) == masks).float().mean()) > 0.97


def test_a_channel_that_does_not_vary_counts_for_nothing():
    """Its mean is far larger than what varies elsewhere, so that its rounding errors would count."""
    draws = torch.Generator().manual_seed(0)
    masks = torch.stack([torch.from_numpy(cv2.resize(m.astype(np.float32), (14, 14))) for m in MASKS * 12])
    features = torch.randn(36, 4, 14, 14, generator=draws) * 0.5
    features[:, 1] += 3 * masks
    features[:, 3] = 3000.0
    learned = fit_objectness(features, masks, feature_scale(features), seed=0)
    without = fit_objectness(features[:, :3], masks, feature_scale(features[:, :3]), seed=0)
    assert torch.allclose(learned.score(features), without.score(features[:, :3]), atol=1e-3)


def test_largest_part_of_nothing_is_nothing():
    assert not largest_part(np.zeros((5, 5), dtype=bool)).any()


def test_attention_fitted_to_targets_predicts_them():
    draws = torch.Generator().manual_seed(0)
    maps, targets = torch.randn(800, 64, 7, 7, generator=draws) * 0.3, torch.zeros(800, 5)
    pattern = torch.randn(64, 1, 1, generator=draws)
    for i in range(800):
        x, y = (int(v) for v in torch.randint(0, 4, (2,), generator=draws))
        maps[i, :, y : y + 3, x : x + 4] += pattern
        targets[i] = torch.tensor([x + 2.0, y + 1.5, 4, 3, 0])
    torch.manual_seed(0)
    attention = RSAM(64)
    weights = torch.ones(800)
    weights[::10] = 0  # these have no target: their rows must not be learned
    targets[::10] = torch.tensor([0.1, 0.1, 0.1, 0.1, 0])
    first = attention.predictor([maps]).detach()
    loss = fit_attention(attention, [maps.half()], targets, weights, seed=0, decay=0.05)
    with torch.no_grad():
        error = (attention.predictor([maps])[:, :2] - targets[:, :2])[weights > 0].abs().mean()
    assert error < 0.5 * (first[:, :2] - targets[:, :2])[weights > 0].abs().mean()
    assert loss < 0.3
