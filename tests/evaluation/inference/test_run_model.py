"""Outputs of a model for records: what is returned only on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rsam_app.config import ModelConfig
from rsam_app.data.records import Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.inference.run_model import run_model
from rsam_app.model import build_model


@pytest.mark.parametrize("attention", ["rsam", "none"])
def test_soft_masks_on_request(tmp_path: Path, attention: str) -> None:
    records = []
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (60, 90, 3)).astype(np.uint8)).save(
            tmp_path / f"{i}.png"
        )
        records.append(Record(f"{i}.png", tmp_path / f"{i}.png", "a", "test", 90, 60))
    torch.manual_seed(0)
    model = build_model(
        ModelConfig(backbone="test_resnet", weights="none", image_size=96, attention=attention), ("a", "b")
    )
    runner = ModelRunner(model, torch.device("cpu"), batch_size=2)
    assert run_model(runner, records).masks is None
    found = run_model(runner, records, soft_masks=True).masks
    if attention == "none":
        assert found is None
    else:
        assert found is not None
        assert found.dtype == np.uint8
        assert len(found) == 3
        assert found.max() > found.min()
