"""The cache of late stages: the same values as from the network, which runs only for images that are not cached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from rsam_app.config import ModelConfig, load_card
from rsam_app.data import load_dataset
from rsam_app.data.records import Record
from rsam_app.model import build_model
from rsam_app.system.cache.rows import NoRoomError
from rsam_app.training.features.late_stages import CachedLateStages
from rsam_app.training.features.source import FeatureSource

SIZE, THUMBNAIL = 64, 24


class CountingSource(FeatureSource):
    """Notes the records that the network ran on."""

    def late_stages(
        self, records: Sequence[Record], size: int, thumbnail: int
    ) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        NETWORK_RAN_ON.extend(record.id for record in records)
        return super().late_stages(records, size, thumbnail)


NETWORK_RAN_ON: list[str] = []


@pytest.fixture
def source(tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    dataset = load_dataset(load_card(str(tiny_pipeline.parent / "blocks.yaml")), 0)
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone="test_resnet", weights="none", image_size=32), dataset.classes)
    NETWORK_RAN_ON.clear()
    return CountingSource(model, dataset.class_index, torch.device("cpu"), "float32", 0), dataset.records


def values(stages: Iterator[tuple[torch.Tensor, np.ndarray]]) -> tuple[torch.Tensor, np.ndarray]:
    maps, images = zip(*stages, strict=True)
    return torch.cat(maps), np.concatenate(images)


def test_cached_values_are_those_of_the_network(source):
    network, records = source
    expected = values(network.late_stages(records, SIZE, THUMBNAIL))
    NETWORK_RAN_ON.clear()
    for ran in (len(records), 0):
        maps, images = values(CachedLateStages(network, records).late_stages(records, SIZE, THUMBNAIL))
        assert torch.equal(maps, expected[0]) and np.array_equal(images, expected[1])
        assert len(NETWORK_RAN_ON) == ran
        NETWORK_RAN_ON.clear()


def test_another_order_or_a_part_reads_the_same_rows(source):
    network, records = source
    cached = CachedLateStages(network, records)
    maps, images = values(cached.late_stages(records, SIZE, THUMBNAIL))
    NETWORK_RAN_ON.clear()
    part, thumbnails = values(cached.late_stages(records[20:4:-1], SIZE, THUMBNAIL))
    assert torch.equal(part, maps[range(20, 4, -1)]) and np.array_equal(thumbnails, images[20:4:-1])
    assert not NETWORK_RAN_ON


def test_another_size_or_other_weights_are_computed_again(source):
    network, records = source
    values(CachedLateStages(network, records).late_stages(records, SIZE, THUMBNAIL))
    NETWORK_RAN_ON.clear()
    values(CachedLateStages(network, records).late_stages(records, SIZE // 2, THUMBNAIL))
    assert len(NETWORK_RAN_ON) == len(records)
    NETWORK_RAN_ON.clear()
    with torch.no_grad():
        next(network.model.backbone.parameters()).add_(1)
    values(CachedLateStages(network, records).late_stages(records, SIZE, THUMBNAIL))
    assert len(NETWORK_RAN_ON) == len(records)


def test_no_room_is_reported(source, monkeypatch):
    network, records = source
    monkeypatch.setenv("RSAM_CACHE_GIB", "0")
    with pytest.raises(NoRoomError):
        values(CachedLateStages(network, records).late_stages(records, SIZE, THUMBNAIL))
