"""Calibrated probabilities against torch, and the temperature through every way of loading a model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch

import rsam_app  # noqa: F401  registers the model
from rsam_app.config import ModelConfig
from rsam_app.model import build_model, load_model, save_model
from rsam_app.model.calibration import calibrated_probabilities
from rsam_app.model.fitted import save_fitted


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_probabilities_agree_with_torch(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(scale=4, size=(7, 5))
    expected = torch.softmax(torch.from_numpy(logits) / temperature, dim=1).numpy()
    np.testing.assert_allclose(calibrated_probabilities(logits, temperature), expected, rtol=1e-12)
    np.testing.assert_allclose(calibrated_probabilities(logits[0], temperature), expected[0], rtol=1e-12)


def test_without_a_temperature_they_are_the_softmax_and_huge_logits_stay_finite() -> None:
    logits = np.array([[1e4, -1e4, 0.0]], dtype=np.float32)
    assert calibrated_probabilities(logits, None).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        calibrated_probabilities(np.zeros((1, 2)), temperature)


def test_a_saved_temperature_is_loaded_by_us_and_by_timm_and_kept_when_saved_again(tmp_path) -> None:
    model = build_model(ModelConfig(backbone="test_resnet", weights="none", image_size=96), ("a", "b"))
    save_model(model, tmp_path / "model")
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert load_model(tmp_path / "model").temperature is None
    save_fitted(tmp_path / "model", temperature=1.625)
    loaded = load_model(tmp_path / "model")
    assert loaded.temperature == 1.625 and loaded.label_names == ("a", "b")
    assert timm.create_model(f"local-dir:{tmp_path / 'model'}").pretrained_cfg["temperature"] == 1.625
    assert timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).temperature == 1.625
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    save_model(loaded, tmp_path / "again")
    assert load_model(tmp_path / "again").temperature == 1.625
    save_fitted(tmp_path / "model", temperature=None)
    assert "temperature" not in json.loads((tmp_path / "model" / "config.json").read_text())["pretrained_cfg"]
    assert load_model(tmp_path / "model").temperature is None
