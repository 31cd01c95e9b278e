"""Runs of small models with every attention, not in their initial state, and their exported files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command import rsam

from rsam_app.config import ModelConfig, Pipeline
from rsam_app.model import build_model, save_model
from rsam_app.model.fitted import save_fitted
from rsam_app.run.folder import RunFolder

CLASSES = ("Açaí", "b & c", "d/e")
SIDE = 96
ATTENTIONS = {
    "moments": {"attention": "rsam", "predictor": "moments"},
    "profiles": {"attention": "rsam", "predictor": "profiles"},
    "regression": {"attention": "rsam", "predictor": "regression"},
    "second_look": {"attention": "rsam", "second_look": True, "image_size": SIDE // 2},
    "unsure": {"attention": "rsam", "second_look": "unsure", "image_size": SIDE // 2},
    "positionwise": {"attention": "positionwise"},
    "none": {"attention": "none"},
    "tokens": {  # their attention has a bias, with which torch's exporter does not convert the fused kernel
        "backbone": "beit_base_patch16_224",
        "backbone_args": {"img_size": SIDE, "depth": 2, "embed_dim": 48, "num_heads": 4},
    },
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, RunFolder]:
    """A run folder for each attention, with an unusual mean and std."""
    made = {}
    for name, values in ATTENTIONS.items():
        torch.manual_seed(0)
        config = ModelConfig(weights="none", **{"backbone": "test_resnet", "image_size": SIDE, **values})
        model = build_model(config, CLASSES)
        model.pretrained_cfg.update(mean=(0.1, 0.5, 0.7), std=(0.3, 0.2, 0.4))
        with torch.no_grad():
            for parameter in [] if model.attention is None else model.attention.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
        made[name] = RunFolder(tmp_path_factory.mktemp("runs") / name)
        made[name].save_pipeline(Pipeline(name=name, dataset="none", model=config))
        save_model(model, made[name].model)
        if name == "unsure":
            save_fitted(made[name].model, second_look_below=0.3552)  # between the confidences of the test photographs
    return made


@pytest.fixture(scope="session")
def exported(runs, tmp_path_factory):
    """A function from an attention and a suffix to the file that `rsam export-model` wrote, once."""
    folder, files = tmp_path_factory.mktemp("exported"), {}

    def file_of(attention: str, suffix: str) -> Path:
        file = folder / f"{attention}{suffix}"
        if file not in files:
            files[file] = rsam("export-model", runs[attention].path, file).stdout
        return file

    return file_of
