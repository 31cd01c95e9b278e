"""Cached feature maps of a frozen backbone: computed once, and training on them is as exact as on images."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from command import rsam, stop_at_first_checkpoint
from safetensors.torch import load_file

from rsam_app.config import load_card, load_pipeline
from rsam_app.data import load_dataset
from rsam_app.data.loader import Views
from rsam_app.geometry.types import Rectangle
from rsam_app.model import build_model
from rsam_app.model.preprocess import normalise
from rsam_app.system.errors import UserError
from rsam_app.training.features.frozen import FeatureViews, extract_features
from rsam_app.training.features.source import FeatureSource

FROZEN = ("--set", "train.frozen_backbone=true", "--set", "train.cached_views=2")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("RSAM_CACHE_GIB", raising=False)


@pytest.fixture(scope="module")
def frozen_run(tiny_pipeline, tmp_path_factory, cache) -> Path:
    run = tmp_path_factory.mktemp("runs") / "frozen"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        assert "3 views of each of" in rsam("train", tiny_pipeline, "--run", run, *FROZEN).stderr
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_attention_and_classifier_learn_and_the_backbone_stays(tiny_pipeline, frozen_run):
    from accelerate.utils import set_seed

    pipeline = load_pipeline(tiny_pipeline)
    set_seed(pipeline.seed)
    start = build_model(pipeline.model, load_dataset(load_card(pipeline.dataset), 0).classes)
    trained = weights(frozen_run)
    moved = {name for name, values in start.state_dict().items() if not torch.equal(values, trained[name])}
    classifier = start.pretrained_cfg["classifier"]
    assert moved and all(name.startswith(("attention.", classifier)) for name in moved)
    assert f"{classifier}.weight" in moved and any(name.startswith("attention.") for name in moved)
    log = [json.loads(line) for line in (frozen_run / "metrics.jsonl").read_text().splitlines()]
    assert log[-1]["train_loss"] < log[0]["train_loss"] and "val_top1" in log[-1]


def test_the_next_run_reads_the_cache_and_ends_the_same(tiny_pipeline, frozen_run, cache, tmp_path):
    rows = next((cache / "rsam" / "rows").glob("features-*/rows"))
    before = rows.stat().st_mtime_ns
    rsam("train", tiny_pipeline, "--run", tmp_path / "again", *FROZEN)
    assert rows.stat().st_mtime_ns == before
    assert len(list((cache / "rsam" / "rows").glob("features-*"))) == 1
    expected, found = weights(frozen_run), weights(tmp_path / "again")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_killed_run_resumes_to_the_very_same_weights(tiny_pipeline, frozen_run, tmp_path):
    run = tmp_path / "killed"
    assert stop_at_first_checkpoint(signal.SIGKILL, run, tiny_pipeline, *FROZEN) == -signal.SIGKILL
    rsam("train", tiny_pipeline, "--run", run, *FROZEN, "--resume")
    expected, found = weights(frozen_run), weights(run)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_two_processes_train_as_one(tiny_pipeline, frozen_run, tmp_path):
    run = tmp_path / "two"
    rsam("train", tiny_pipeline, "--run", run, *FROZEN, "--processes", 2)
    logs = [[json.loads(x) for x in (r / "metrics.jsonl").read_text().splitlines()] for r in (run, frozen_run)]
    for two, one in zip(*logs, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)


def test_it_trains_in_bfloat16_too(tiny_pipeline, tmp_path):
    rsam("train", tiny_pipeline, "--run", tmp_path / "run", *FROZEN, "--set", "train.precision=bfloat16")
    assert weights(tmp_path / "run")


@pytest.mark.parametrize("changed", ["{act_layer: silu}", "{output_stride: 16}"])
def test_features_of_a_differently_built_backbone_are_not_used(tiny_pipeline, frozen_run, tmp_path, cache, changed):
    """Backbones with the same weights may differ in activations, padding or strides."""
    kept = set((cache / "rsam" / "rows").iterdir())
    rsam("train", tiny_pipeline, "--run", tmp_path / "run", *FROZEN, "--set", f"model.backbone_args={changed}")
    assert len(set((cache / "rsam" / "rows").iterdir()) - kept) == 1


def test_without_room_it_reports_so_and_runs_the_backbone_in_every_epoch(tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("RSAM_CACHE_GIB", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    said = rsam("train", tiny_pipeline, "--run", tmp_path / "run", *FROZEN).stderr
    assert "RSAM_CACHE_GIB allows 0" in said and "every epoch computes new views" in said
    assert weights(tmp_path / "run")


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ("train.frozen_backbone=false", "change at every step"),
        ("model.stage=2", "change with the attention"),
        ("train.signals.equivariance=1", "new views"),
    ],
)
def test_views_that_cannot_be_cached_are_refused_if_requested(tiny_pipeline, other, why):
    with pytest.raises(UserError, match=f"train.cached_views .*{why}.*set it to 0 or auto"):
        load_pipeline(tiny_pipeline, ["train.frozen_backbone=true", "train.cached_views=3", other])
    load_pipeline(tiny_pipeline, ["train.frozen_backbone=true", other])  # `auto` does not cache instead


def test_maps_and_targets_are_those_of_the_views(tiny_pipeline):
    """A cached map equals the backbone's of the same view, and so does the target."""
    pipeline = load_pipeline(tiny_pipeline, ["train.frozen_backbone=true", "train.cached_views=2"])
    dataset = load_dataset(load_card(pipeline.dataset), 0)
    records = dataset.split("train")
    model = build_model(pipeline.model, dataset.classes).eval()
    cpu = torch.device("cpu")
    source = FeatureSource(model, dataset.class_index, cpu, "float32", 0)
    kept = extract_features(source, pipeline, records, dataset.split("val"), 2, make=True)
    from rsam_app.data.augmentation.random_view import TrainAugment

    targets = {r.id: ((20.0, 20.0, 12.0, 8.0, 0.3), 2.0) for r in records[::2]}
    augment = TrainAugment(pipeline.train.augment, 32)
    live = {
        0: Views(records, dataset.class_index, 32, None, targets),
        1: Views(records, dataset.class_index, 32, augment, targets, pipeline.seed),
    }
    frozen = FeatureViews(kept, targets)
    drawn = set()
    for index in range(len(records)):
        for epoch in range(3):
            view = int(np.random.default_rng((pipeline.seed, epoch, index)).integers(3))
            drawn.add(view)
            batch, image = frozen[(epoch, index)], live[min(view, 1)][(max(0, view - 1), index)]
            with torch.no_grad():
                last, stages = model.maps(normalise(image["image"][None], model, cpu))
            for one, expected in zip(batch["maps"], (last, *stages), strict=True):
                assert torch.allclose(one.float(), expected[0], rtol=2e-3, atol=2e-3)
            assert torch.equal(batch["target"], image["target"])
            assert torch.equal(batch["target_weight"], image["target_weight"])
    assert drawn == {0, 1, 2}
    held_out = kept.validation_logits(model)
    whole = Views(dataset.split("val"), dataset.class_index, 32)
    images = torch.stack([whole[(0, i)]["image"] for i in range(len(held_out))])
    with torch.no_grad():
        assert np.allclose(held_out, model(normalise(images, model, cpu)).numpy(), atol=2e-2)


def test_exchanged_surroundings_are_cached_for_these_targets_alone(tiny_pipeline):
    """With other targets the maps of the augmented views change; those of the whole images stay."""
    exchange = ["train.frozen_backbone=true", "train.cached_views=1", "train.exchange_surroundings=1"]
    pipeline = load_pipeline(tiny_pipeline, exchange)
    dataset = load_dataset(load_card(pipeline.dataset), 0)
    records = dataset.split("train")
    model = build_model(pipeline.model, dataset.classes).eval()
    source = FeatureSource(model, dataset.class_index, torch.device("cpu"), "float32", 0)
    rows = []
    for width in (12.0, 24.0):
        targets = {r.id: (Rectangle(20.0, 20.0, width, 8.0, 0.3), 2.0) for r in records}
        frozen = extract_features(source, pipeline, records, (), 1, make=True, targets=targets)
        rows.append([frozen.maps_of(row)[0][0] for row in range(2 * len(records))])
    same = [torch.equal(one, other) for one, other in zip(*rows, strict=True)]
    assert all(same[: len(records)]) and sum(same[len(records) :]) < len(records) / 2


def test_averaged_embeddings_are_half_the_image_and_half_its_views(tiny_pipeline):
    pipeline = load_pipeline(tiny_pipeline, ["train.frozen_backbone=true", "train.cached_views=2"])
    dataset = load_dataset(load_card(pipeline.dataset), 0)
    records = dataset.split("train")
    model = build_model(pipeline.model, dataset.classes).eval()
    source = FeatureSource(model, dataset.class_index, torch.device("cpu"), "float32", 0)
    kept = extract_features(source, pipeline, records, dataset.split("val"), 2, make=True)
    whole = kept.embeddings(model)
    found = kept.averaged_embeddings(model, whole)
    assert found.shape == whole.shape
    for row in (0, len(records) - 1):
        looks = []
        for view in range(3):
            features, *stages = (
                torch.from_numpy(maps.numpy()).float()[None] for maps in kept.maps_of(view * len(records) + row)[0]
            )
            with torch.no_grad():
                looks.append(model.forward_head(model.attend(features, stages).features, pre_logits=True)[0].numpy())
        np.testing.assert_allclose(found[row], looks[0] / 2 + looks[1] / 4 + looks[2] / 4, rtol=1e-4, atol=1e-5)


def test_damaged_maps_are_reported_with_the_remedy(tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rsam("train", tiny_pipeline, "--run", tmp_path / "run", *FROZEN)
    rows = next((tmp_path / "rsam" / "rows").glob("features-*/rows"))
    with rows.open("r+b") as stream:
        for place in range(0, rows.stat().st_size, 64):
            stream.seek(place)
            stream.write(b"\x01")
    said = rsam("train", tiny_pipeline, "--run", tmp_path / "again", *FROZEN, check=2).stderr
    assert "feature maps are damaged. Remove the folder" in said
