"""Convnets with attention build, learn, save and load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from rsam_app.config import REPOSITORY, ModelConfig, load_pipeline
from rsam_app.model import AttentiveOutput, build_model, load_model, save_model
from rsam_app.model.attention.second_look import CONTEXT, LOOSE
from rsam_app.model.memory_layout import use_channels_last
from rsam_app.system.errors import UserError

CLASSES = ("Açaí", "b & c", "d/e")
FAMILIES = ["test_resnet", "test_convnext", "test_efficientnet", "test_byobnet", "resnet10t", "mobilenetv3_small_050"]
CHANNELS_LAST = ["swin_tiny_patch4_window7_224", "mambaout_femto"]


def config(backbone: str, **values: object) -> ModelConfig:
    return ModelConfig(backbone=backbone, weights="none", **{"image_size": 96, **values})


@pytest.mark.parametrize("attention", ["rsam", "positionwise", "none"])
@pytest.mark.parametrize("backbone", FAMILIES)
def test_forward_backward_save_and_load_bit_for_bit(backbone, attention, tmp_path):
    torch.manual_seed(0)
    model = build_model(config(backbone, attention=attention), CLASSES)
    images = torch.randn(2, 3, 96, 128)
    output = model(images, return_output=True)
    assert output.logits.shape == (2, 3)
    assert (output.rectangle is None) == (attention == "none")
    output.logits.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())

    model.eval()
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.label_names == CLASSES
    with torch.no_grad():
        assert torch.equal(model(images), loaded(images))


def test_maps_with_channels_last():
    for backbone in CHANNELS_LAST:
        size = 224 if "swin" in backbone else 96
        model = build_model(config(backbone, image_size=size), CLASSES).eval()
        assert not model.channels_first
        with torch.no_grad():
            images = torch.randn(1, 3, size, size)
            seen = model.inspect(images)
            plain = model.backbone(images)
            assert torch.allclose(model.forward_head(model.forward_features(images)), plain, atol=1e-5)
        assert seen.output.mask.shape[1] == seen.output.mask.shape[2] == size // 32
        assert seen.embedding.shape == (1, model.head_hidden_size)


def test_an_unknown_backbone_gets_the_nearest_names():
    with pytest.raises(UserError, match="mobilenetv2_100"):
        build_model(config("mobilnetv2_100"), CLASSES)


def test_missing_and_foreign_weights_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        build_model(ModelConfig(backbone="resnet10t", weights=str(tmp_path / "x.safetensors")), CLASSES)
    (tmp_path / "y.safetensors").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"y\.safetensors"):
        build_model(ModelConfig(backbone="resnet10t", weights=str(tmp_path / "y.safetensors")), CLASSES)


def test_another_process_needs_only_import_rsam_app(tmp_path):
    torch.manual_seed(0)
    model = build_model(config("test_resnet"), CLASSES).eval()
    save_model(model, tmp_path / "model")
    images = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    program = (
        "import json, rsam_app, timm, torch\n"
        f"model = timm.create_model('local-dir:{tmp_path / 'model'}').eval()\n"
        "logits = model(torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64))\n"
        "print(json.dumps([logits.tolist(), model.pretrained_cfg['label_names']]))"
    )
    for first in ("", "import timm\n"):
        done = subprocess.run([sys.executable, "-c", first + program], capture_output=True, text=True, check=True)
        logits, names = json.loads(done.stdout.strip().splitlines()[-1])
        assert torch.equal(torch.tensor(logits), model(images).detach())
        assert tuple(names) == CLASSES


def test_a_saved_model_can_be_loaded_for_other_classes(tmp_path):
    model = build_model(config("test_resnet"), CLASSES)
    save_model(model, tmp_path / "model")
    other = timm.create_model(f"local-dir:{tmp_path / 'model'}", num_classes=7).eval()
    assert other(torch.randn(2, 3, 64, 64)).shape == (2, 7)
    for name, value in model.backbone.conv1.state_dict().items():
        assert torch.equal(value, other.backbone.conv1.state_dict()[name])


def test_rectangles_are_in_input_pixels_also_on_maps_that_are_not_square():
    model = build_model(config("test_resnet"), CLASSES).eval()
    with torch.no_grad():
        output = model(torch.randn(1, 3, 64, 160), return_output=True)
    assert output.rectangle[0, :2].tolist() == pytest.approx([80, 32], abs=1)
    assert output.rectangle[0, 2:4].tolist() == pytest.approx([160, 64], rel=0.06)


def test_real_imagenet_weights_bring_their_own_preprocessing():
    folder = os.environ.get("RSAM_WEIGHTS")
    if not folder:
        pytest.skip("RSAM_WEIGHTS is not set to a folder of weights")
    weights = str(Path(folder) / "mobilenetv2_100.safetensors")
    model = build_model(ModelConfig(backbone="mobilenetv2_100", weights=weights), CLASSES).eval()
    assert model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    reference = timm.create_model(
        "mobilenetv2_100", pretrained=True, pad_type="same", pretrained_cfg_overlay={"file": weights}
    ).eval()
    use_channels_last(reference)  # in which it rounds differently
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(model.forward_features(images), reference.forward_features(images))
    with pytest.raises(UserError, match="mobilenetv2_100, not of resnet10t"):
        build_model(ModelConfig(backbone="resnet10t", weights=weights), CLASSES)


@pytest.mark.parametrize("pipeline", sorted(REPOSITORY.glob("pipelines/*.yaml")), ids=lambda p: p.stem)
def test_shipped_pipelines_load_the_file_in_the_weights_folder(pipeline: Path):
    folder = os.environ.get("RSAM_WEIGHTS")
    if not folder:
        pytest.skip("RSAM_WEIGHTS is not set to a folder of weights")
    config = load_pipeline(pipeline).model
    file = str(Path(folder) / f"{config.backbone}.safetensors")
    models = []
    for weights in (config.weights, file):
        torch.manual_seed(0)
        models.append(build_model(config.model_copy(update={"weights": weights}), CLASSES))
    first, second = (model.state_dict() for model in models)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert models[0].pretrained_cfg == models[1].pretrained_cfg
    assert models[0]._model_args == models[1]._model_args


def test_a_second_look_classifies_the_crop_and_can_be_turned_off(tmp_path):
    torch.manual_seed(0)
    model = build_model(config("test_resnet", second_look=True, image_size=64), CLASSES).eval()
    assert model.pretrained_cfg["input_size"] == (3, 128, 128)
    with torch.no_grad():
        model.attention.predictor.out.bias.copy_(torch.tensor([-0.5, 0.5, -0.8, -0.8, 1.0, 0.0]))
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        both, seen = model(images, return_output=True), model.inspect(images)
        crop = model.crop(images, both.rectangle)
        alone = model.forward_head(model.forward_features(crop))
        first = model.forward_head(model.attend(*model.maps(model.shrink(images))).features)
    assert crop.shape == (2, 3, 64, 64)
    assert torch.allclose(both.view_logits, torch.stack([first, alone]), atol=1e-5)
    assert torch.allclose(both.logits, (first + alone) / 2, atol=1e-5)
    assert torch.allclose(seen.output.logits, both.logits, atol=1e-5)
    assert both.rectangle[:, 0].min() > 0 and both.rectangle[:, 0].max() < 128

    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
        loaded.second_look = False
        assert torch.allclose(loaded(images), first, atol=1e-5)
        loaded.second_look = "only"
        only, inspected = loaded(images, return_output=True), loaded.inspect(images)
    assert torch.equal(only.logits, only.view_logits[0]) and len(only.view_logits) == 1
    assert torch.allclose(only.logits, alone, atol=1e-5) and torch.equal(only.rectangle, both.rectangle)
    assert torch.allclose(loaded.get_classifier()(inspected.embedding), alone, atol=1e-5)


def test_a_model_crops_as_it_was_trained_to(tmp_path):
    model = build_model(config("test_resnet", second_look="only", image_size=64), CLASSES).eval()
    save_model(model, tmp_path)
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        answer = model(images)
        assert torch.equal(load_model(tmp_path)(images), answer)
        saved = json.loads((tmp_path / "config.json").read_text())
        del saved["model_args"]["crop_context"]  # as in models of earlier versions
        (tmp_path / "config.json").write_text(json.dumps(saved))
        assert not torch.allclose(load_model(tmp_path)(images), answer)
    assert (model.crop_context, load_model(tmp_path).crop_context) == (CONTEXT, LOOSE)


def test_only_unsure_images_get_a_second_look():
    torch.manual_seed(0)
    model = build_model(config("test_resnet", second_look="unsure", image_size=64), CLASSES).eval()
    with torch.no_grad():
        model.attention.predictor.out.bias.copy_(torch.tensor([-0.5, 0.5, -0.8, -0.8, 1.0, 0.0]))
        model.get_classifier().weight.mul_(1000)
    images = torch.randn(6, 3, 128, 128)

    def outputs(look: str | bool, below: float | None = None) -> AttentiveOutput:
        model.second_look = look
        model.pretrained_cfg["second_look_below"] = below
        with torch.no_grad():
            return model(images, return_output=True)

    first, both = outputs(False).logits, outputs(True).logits
    assert torch.equal(outputs("unsure").logits, both)  # nothing has been fitted
    confidence = first.softmax(dim=1).amax(dim=1)
    below = float(confidence.sort().values[1:3].mean())
    mixed = outputs("unsure", below)
    unsure = confidence < below
    assert unsure.sum() == 2
    assert torch.allclose(mixed.logits[unsure], both[unsure], atol=1e-4)
    assert torch.equal(mixed.logits[~unsure], first[~unsure]) and mixed.view_logits.shape == (2, 6, 3)
    with torch.no_grad():
        embedding = model.inspect(images).embedding
    assert torch.allclose(model.get_classifier()(embedding), mixed.logits, atol=1e-3)
    with torch.no_grad():
        assert torch.allclose(model.train()(images), outputs(True).logits, atol=1e-4)  # both are trained


def test_a_second_look_without_a_rectangle_is_refused():
    with pytest.raises(ValueError, match="has none"):
        config("test_resnet", attention="none", second_look=True)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "mambaout_femto", "mobilenetv3_small_050"])
@pytest.mark.parametrize("attention", ["rsam", "positionwise"])
def test_attention_at_an_earlier_stage_gates_the_input_of_the_next_one(backbone, attention, tmp_path):
    torch.manual_seed(0)
    model = build_model(config(backbone, attention=attention, stage=1), CLASSES).eval()
    if attention == "rsam":  # initially the rectangle changes nothing
        with torch.no_grad():
            model.attention_module.predictor.out.bias.copy_(torch.tensor([-1.0, 0.0, -2.0, 0.0, 1.0, 0.0]))
    images = torch.randn(2, 3, 96, 128)
    output = model(images, return_output=True)
    last = model.forward_features(images)
    assert output.mask.shape[1] > last.shape[2] and output.mask.shape[2] > output.mask.shape[1]
    output.logits.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.attention_module.parameters())
    seen = model.inspect(images)
    assert torch.allclose(seen.output.logits, output.logits, atol=1e-5)
    assert model.evidence(images)[-1].shape[2:] == output.mask.shape[1:]

    plain = model.forward_head(model._forward_ungated(images))
    assert not torch.allclose(plain, output.logits, atol=1e-6)
    save_model(model, tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "model")(images), model(images))


def test_a_missing_stage_is_named():
    with pytest.raises(UserError, match=r"no stage 9 \(has: 0, 1"):
        build_model(config("test_resnet", stage=9), CLASSES)


def test_a_crash_while_the_model_is_replaced_leaves_one(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    first, second = (build_model(config("test_resnet"), CLASSES) for _ in range(2))
    save_model(first, folder)
    rename = os.replace

    def crash(source, target):
        if Path(target) == folder:
            assert not folder.exists() and Path(source).is_dir()
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_model(second, folder)
    monkeypatch.undo()
    for expected in (first, second):
        loaded = load_model(folder)
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), expected.parameters(), strict=True))
        save_model(second, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
