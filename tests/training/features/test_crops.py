"""Cached crops of a second look are those that the model would take, and training on them reaches the same logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from command import rsam

from rsam_app.config import load_card, load_pipeline
from rsam_app.data import load_dataset
from rsam_app.data.loader import Views
from rsam_app.geometry.types import Rectangle
from rsam_app.model import build_model, load_model
from rsam_app.model.preprocess import normalise
from rsam_app.training.features.crops import embed_crops
from rsam_app.training.features.frozen import FeatureViews, OnMaps, extract_features
from rsam_app.training.features.source import FeatureSource

FROZEN = ("train.frozen_backbone=true", "train.cached_views=2")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=["true", "only"])
def cached(request, tiny_pipeline):
    """Dataset, model, targets and cached crops of a small run with a second look."""
    pipeline = load_pipeline(tiny_pipeline, [*FROZEN, f"model.second_look={request.param}"])
    dataset = load_dataset(load_card(pipeline.dataset), 0)
    torch.manual_seed(0)
    model = build_model(pipeline.model, dataset.classes).eval()
    with torch.no_grad():
        model.attention.predictor.out.bias.copy_(torch.tensor([-0.4, 0.4, -0.9, -0.9, 1.0, 0.0]))
    source = FeatureSource(model, dataset.class_index, torch.device("cpu"), "float32", 0)
    records = dataset.split("train")
    targets = {r.id: (Rectangle(x + w / 2, y + h / 2, w, h, 0.0), 1.0) for r in records[1:] for x, y, w, h in r.boxes}
    frozen = extract_features(source, pipeline, records, dataset.split("val"), 2, make=True)
    return dataset, model, targets, embed_crops(source, pipeline, frozen, targets)


def test_crops_follow_the_targets_and_are_whole_images_without_one(cached):
    dataset, model, targets, crops = cached
    records = dataset.split("train")
    assert records[0].id not in targets and crops.training.shape[:2] == (3, len(records))
    views = Views(records, dataset.class_index, 64, None, targets)
    batch = views.__getitems__([(0, 0), (0, 5)])
    images = normalise(batch["image"], model, torch.device("cpu"))
    with torch.inference_mode():
        crop = model.forward_head(model.crop_features(images, batch["target"]), pre_logits=True)
        whole = model.forward_head(model.forward_features(model.shrink(images)), pre_logits=True)
    assert torch.allclose(crops.training[0, 5].float(), crop[1], atol=2e-2)
    assert torch.allclose(crops.training[0, 0].float(), whole[0], atol=5e-2)
    assert not torch.allclose(crop[1], whole[1], atol=5e-2)


def test_a_view_that_cuts_the_target_off_counts_as_the_whole_image(tiny_pipeline):
    pipeline = load_pipeline(tiny_pipeline, [*FROZEN, "model.second_look=only", "train.augment.min_scale=0.1"])
    dataset = load_dataset(load_card(pipeline.dataset), 0)
    model = build_model(pipeline.model, dataset.classes).eval()
    source = FeatureSource(model, dataset.class_index, torch.device("cpu"), "float32", 0)
    records = dataset.split("train")
    targets = {r.id: (Rectangle(60.0, 44.0, 6.0, 6.0, 0.0), 1.0) for r in records}  # in a corner
    frozen = extract_features(source, pipeline, records, (), 2, make=True)
    crops = embed_crops(source, pipeline, frozen, targets).training
    same = (crops[1:] == crops[0]).all(dim=2)
    assert same.any() and not same.all()


def test_logits_on_cached_crops_are_those_of_images(cached):
    dataset, model, targets, crops = cached
    views = FeatureViews(crops.frozen, targets, crops)
    sample = views[(0, 3)]
    maps = [one[None].float() for one in sample["maps"]]
    with torch.inference_mode():
        output = OnMaps(model, crops.frozen.side)(maps)
        logits = model.get_classifier()(maps[-1])
    assert torch.allclose(output.view_logits[-1], logits) and output.rectangle is not None
    assert len(output.view_logits) == (1 if model.second_look == "only" else 2)

    images = Views(dataset.split("val"), dataset.class_index, 64).__getitems__([(0, 0), (0, 1)])["image"]
    with torch.inference_mode():
        expected = model(normalise(images, model, torch.device("cpu")))
    assert np.allclose(crops.validation_logits(model), expected.numpy(), atol=5e-3)


@pytest.mark.parametrize("look", ["true", "only"])
def test_training_on_cached_crops_keeps_the_look(tiny_pipeline, tmp_path, look):
    words = [word for setting in (*FROZEN, f"model.second_look={look}") for word in ("--set", setting)]
    assert "3 views of each of" in rsam("train", tiny_pipeline, "--run", tmp_path / "run", *words).stderr
    rsam("evaluate", tmp_path / "run")
    model = load_model(tmp_path / "run" / "model")
    assert model.second_look == (look if look == "only" else True) and model.detail == 2
