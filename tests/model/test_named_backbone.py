"""A saved timm model, in a folder or on a stand-in of the hub, as the backbone of a pipeline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hub_stand_in import Ended, client_of, stand_in_hub
from timm.models import save_for_hf

from rsam_app.config import ModelConfig
from rsam_app.model import build_model, load_model, save_model
from rsam_app.system.errors import UserError

CLASSES = ("a", "b", "c")


def saved(folder: Path, name: str = "test_vit", **args: Any) -> torch.nn.Module:
    """A plain timm model with seven classes, saved as for the hub; its pixels are normalised by .5."""
    torch.manual_seed(3)
    model = timm.create_model(name, num_classes=7, **args)
    model.pretrained_cfg.update(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    save_for_hf(model, str(folder), model_args=args or None, safe_serialization=True)
    return model


def same_backbone(ours: torch.nn.Module, theirs: torch.nn.Module, classifier: str) -> bool:
    state = ours.state_dict()
    return all(torch.equal(state[n], v) for n, v in theirs.state_dict().items() if not n.startswith(classifier))


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_saved_model_is_a_backbone_with_its_arguments_weights_and_pixels(tmp_path: Path, file: str) -> None:
    theirs = saved(tmp_path / "theirs", img_size=96)
    if file != "model.safetensors":
        (tmp_path / "theirs" / "model.safetensors").unlink()
        torch.save(theirs.state_dict(), tmp_path / "theirs" / file)
    config = ModelConfig(backbone=f"local-dir:{tmp_path / 'theirs'}", image_size=96)
    model = build_model(config, CLASSES).eval()
    assert same_backbone(model.backbone, theirs, "head.")
    assert model.pretrained["arrived"] == 1.0 and model.pretrained["source"] == str(tmp_path / "theirs" / file)
    assert model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5) and model.pretrained_cfg["std"] == (0.25, 0.25, 0.25)
    save_model(model, tmp_path / "ours")
    images = torch.randn(2, 3, 96, 96)
    shutil.rmtree(tmp_path / "theirs")  # the run's model needs it no longer
    loaded = load_model(tmp_path / "ours")
    with torch.no_grad():
        before, after = model(images, return_output=True), loaded(images, return_output=True)
    assert torch.equal(before.logits, after.logits) and torch.equal(before.rectangle, after.rectangle)
    assert tuple(loaded.pretrained_cfg["mean"]) == (0.5, 0.5, 0.5)


def test_the_model_of_a_run_is_one_too(tmp_path: Path) -> None:
    run = build_model(ModelConfig(backbone="test_resnet", weights="none", image_size=64, second_look=True), CLASSES)
    save_model(run, tmp_path / "model")
    config = ModelConfig(backbone=f"local-dir:{tmp_path / 'model'}", image_size=64)
    model = build_model(config, ("x", "y"))
    assert same_backbone(model.backbone, run.backbone, "fc.") and model.get_classifier().out_features == 2
    random = build_model(config.model_copy(update={"weights": "none"}), CLASSES)
    assert not same_backbone(random.backbone, run.backbone, "fc.") and random.pretrained["source"] == "none"


def rewritten(folder: Path, **changes: Any) -> str:
    """`folder` with a changed `config.json`, and without weights: whatever is said next came before them."""
    saved(folder)
    path = folder / "config.json"
    content = {key: value for key, value in (json.loads(path.read_text()) | changes).items() if value is not None}
    path.write_text(json.dumps(content))
    (folder / "model.safetensors").unlink()
    return f"local-dir:{folder}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"architecture": "test_vitt"}, "is of 'test_vitt', which this timm .* Did you mean 'test_vit"),
        ({"architecture": "pit_ti_224"}, "(?s)pit_ti_224 gives tokens of shape .*Choose a ViT with a class token"),
        ({"architecture": None}, "(?s)is not a timm model: .*model.weights"),
        ({"architecture": "rsam_classifier"}, "config.json is damaged"),
        ({"model_args": {"in_chans": 1}}, "takes images of 1 channels"),
        ({"model_args": {"img_size": [96, 64]}}, r"img_size is \[96, 64\], but images are square"),
        ({}, "has no weights .model.safetensors"),
    ],
)
def test_what_cannot_be_one_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        build_model(ModelConfig(backbone=rewritten(tmp_path / "theirs", **changes), image_size=160), CLASSES)


def test_a_missing_or_damaged_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    for name, expected in (
        ("missing", "no such folder"),
        ("empty", "has no config.json"),
        ("damaged", "config.json is damaged"),
    ):
        with pytest.raises(UserError, match=expected) as raised:
            build_model(ModelConfig(backbone=f"local-dir:{tmp_path / name}"), CLASSES)
        assert str(raised.value).startswith("model.backbone: ") and str(raised.value).count("\n") < 2


BUILD = """
from pathlib import Path
from rsam_app.config import ModelConfig
from rsam_app.model import build_model, save_model
from rsam_app.system.errors import UserError
try:
    model = build_model(ModelConfig(backbone={backbone!r}, image_size=160), ("a", "b"))
    save_model(model, Path({out!r}))
except UserError as error:
    print(error)
"""


def build_from(client: Callable[[str], Ended], backbone: str, out: Path) -> str:
    """What a process says that builds this backbone."""
    done = client(BUILD.format(backbone=backbone, out=str(out)))
    assert done.code == 0, done.stderr
    return done.stdout.strip()


def test_a_model_of_the_hub_is_fetched_once_and_refused_before_its_weights(tmp_path: Path) -> None:
    theirs = saved(tmp_path / "theirs")
    rewritten(tmp_path / "refused", architecture="pit_ti_224")
    home, ours = tmp_path / "home", tmp_path / "ours"
    home.mkdir()
    with stand_in_hub() as (address, repositories), client_of(address, home) as client:
        for name, folder in (("ours/plain", "theirs"), ("ours/pit", "refused")):
            repositories[name] = {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        assert build_from(client, "hf-hub:ours/plain", ours) == ""
        assert "pit_ti_224 gives tokens" in build_from(client, "hf-hub:ours/pit", ours)
        said = build_from(client, "hf-hub:ours/other", ours)
        assert said.startswith("model.backbone: the hub has no ours/other that you may read (")
    assert same_backbone(load_model(ours).backbone, theirs, "head.")
    with client_of("http://127.0.0.1:9", home) as client:
        assert build_from(client, "hf-hub:ours/plain", ours) == ""  # from the local cache
        said = build_from(client, "hf-hub:ours/unseen", ours)
        unreachable = "model.backbone: hf-hub:ours/unseen is not in the hub's local cache"
        assert said.startswith(unreachable) and "local-dir" in said
