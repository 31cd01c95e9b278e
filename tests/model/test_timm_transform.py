"""timm's own transform for a saved model gives our pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from rsam_app.config import ModelConfig
from rsam_app.data.augmentation.random_view import whole_image
from rsam_app.data.images.decoding import read_image
from rsam_app.model import build_model, save_model
from rsam_app.model.preprocess import normalise

LEVEL = 1 / 255 / 0.225
"""One of 256 levels, in units of the normalised input of the widest channel."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model = build_model(ModelConfig(backbone="resnet10t", weights="none", image_size=64), ("a", "b"))
    save_model(model, folder / "model")
    return folder / "model"


def smooth(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def difference(folder: Path, picture: Path, size: int = 64) -> torch.Tensor:
    model = timm.create_model(f"local-dir:{folder}").eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    pixels, displayed = read_image(picture, size)
    view, _ = whole_image(pixels, size, displayed)
    ours = normalise(torch.from_numpy(view).permute(2, 0, 1)[None], model, torch.device("cpu"))[0]
    with Image.open(picture) as image:
        return (transform(image.convert("RGB")) - ours).abs()


@pytest.mark.parametrize("shape", [(64, 64), (100, 80), (90, 150), (40, 33), (159, 159)])
def test_timm_s_transform_gives_our_pixels_to_within_rounding(saved, tmp_path, shape) -> None:
    smooth(*shape).save(tmp_path / "a.png")
    assert difference(saved, tmp_path / "a.png").max() <= 1.01 * LEVEL


def test_a_large_photograph_which_we_shrink_in_two_steps_differs_by_little(saved, tmp_path) -> None:
    smooth(900, 700).save(tmp_path / "a.jpg", quality=95)
    measured = difference(saved, tmp_path / "a.jpg") / LEVEL
    assert measured.mean() < 1 and measured.max() < 6


def test_runs_saved_before_this_field_was_right_load_and_transform(saved, tmp_path) -> None:
    content = json.loads((saved / "config.json").read_text())
    assert content["pretrained_cfg"]["interpolation"] == "bicubic"
    content["pretrained_cfg"]["interpolation"] = "area"
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text(json.dumps(content))
    (old / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    smooth(100, 80).save(tmp_path / "a.png")
    assert difference(old, tmp_path / "a.png").max() <= 1.01 * LEVEL
