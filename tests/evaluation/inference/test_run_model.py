"""What a model says of records: what is returned only where it was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from rsam_app.config import ModelConfig
from rsam_app.data.records import Record
from rsam_app.evaluation.inference.run_model import run_model
from rsam_app.model import build_model

INDEX = {"a": 0, "b": 1}


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
    accelerator = Accelerator(cpu=True)
    assert run_model(model, records, INDEX, 2, accelerator, "float32", 0).masks is None
    found = run_model(model, records, INDEX, 2, accelerator, "float32", 0, soft_masks=True).masks
    if attention == "none":
        assert found is None
    else:
        assert found is not None
        assert found.dtype == np.uint8
        assert len(found) == 3
        assert found.max() > found.min()
