"""Weights files of other programs reach the backbone completely, or are refused by the names of their tensors."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rsam_app.config import ModelConfig
from rsam_app.model import build_model, load_model, save_model
from rsam_app.model.memory_layout import use_channels_last
from rsam_app.system.errors import UserError

CLASSES = ("a", "b")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model("test_resnet", num_classes=7)


def built(path: Path, backbone: str = "test_resnet", **settings: object):
    return build_model(ModelConfig(backbone=backbone, weights=str(path), image_size=64, **settings), CLASSES)


def refused(path: Path, backbone: str = "test_resnet", **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        built(path, backbone, **settings)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def features(model) -> Tensor:
    model = copy.deepcopy(model)
    use_channels_last(model)  # in which timm's own networks round differently
    with torch.no_grad():
        out: Tensor = model.eval().forward_features(torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64))
        return out


def below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: values for name, values in state.items()}


def zeros(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(values) for name, values in state.items()}


WRITERS = {
    "plain": lambda net: net.state_dict(),
    "usual script": lambda net: {"model_state_dict": net.state_dict(), "epoch": 3},
    "name beside it": lambda net: {"model": "test_resnet", "state_dict": net.state_dict()},
    "DDP": lambda net: {"state_dict": below("module.", net.state_dict())},
    "compiled DDP": lambda net: below("_orig_mod.module.", net.state_dict()),
    "Lightning": lambda net: {
        "state_dict": below("model.", net.state_dict()) | {"loss.weight": torch.ones(2)},
        "hyper_parameters": {"lr": 0.1},
    },
    "Lightning's backbone": lambda net: {"state_dict": below("model.backbone.", net.state_dict())},
    "fastai": lambda net: {"model": below("0.model.", net.state_dict()), "opt": {"state": []}},
    "timm's average": lambda net: {"state_dict": zeros(net.state_dict()), "state_dict_ema": net.state_dict()},
    "average beside": lambda net: below("model.", zeros(net.state_dict())) | below("ema_model.", net.state_dict()),
    "torch's average": lambda net: AveragedModel(net).state_dict(),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_checkpoints_of_other_programs_reach_the_whole_backbone(writer, network, tmp_path):
    torch.save(WRITERS[writer](network), tmp_path / "a.pth")
    model = built(tmp_path / "a.pth")
    assert torch.equal(features(model), features(network))
    assert model.pretrained == {
        "source": str(tmp_path / "a.pth"),
        "tensors": sum(v.is_floating_point() for v in network.state_dict().values()) - 2,  # without the classifier
        "arrived": 1.0,
    }
    assert "state_dict" not in model.backbone.pretrained_cfg


@pytest.mark.parametrize("settings", [{}, {"stage": 1}, {"attention": "none"}])
def test_the_model_of_a_run_is_a_weights_file(settings, tmp_path):
    args = {"act_layer": "silu"}  # leaves no trace among the tensors
    config = ModelConfig(backbone="test_resnet", weights="none", image_size=64, backbone_args=args, **settings)
    trained = build_model(config, CLASSES)
    trained.pretrained_cfg["mean"] = (0.1, 0.2, 0.3)
    save_model(trained, tmp_path / "model")
    model = built(tmp_path / "model" / "model.safetensors", attention="none")
    plain = {n.replace(".stage.", "."): v for n, v in trained.backbone.state_dict().items() if "attention" not in n}
    loaded = model.backbone.state_dict()
    assert plain.keys() == loaded.keys()
    assert all(torch.equal(plain[n], loaded[n]) for n in plain if n not in ("fc.weight", "fc.bias"))
    assert isinstance(model.backbone.act1, nn.SiLU)
    assert model.pretrained_cfg["mean"] == (0.1, 0.2, 0.3)
    assert "test_resnet, not of test_convnext" in refused(tmp_path / "model" / "model.safetensors", "test_convnext")


def test_settings_in_timms_overlay_stay_beside_the_weights(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "a.pth")
    model = built(tmp_path / "a.pth", backbone_args={"pretrained_cfg_overlay": {"input_size": (3, 96, 96)}})
    assert torch.equal(features(model), features(network))
    assert tuple(model.backbone.pretrained_cfg["input_size"]) == (3, 96, 96)


def test_weights_that_timm_renames_reach_the_backbone(tmp_path):
    source = timm.create_model("convnext_atto", num_classes=7)
    theirs = {}
    for name, values in source.state_dict().items():  # names of ConvNeXt's authors
        name = name.replace("stem.", "downsample_layers.0.").replace("head.fc", "head").replace("head.norm", "norm")
        if name.startswith("stages.") and "downsample" in name:
            parts = name.split(".")
            name = ".".join(["downsample_layers", parts[1], *parts[3:]])
        name = name.replace(".blocks.", ".").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        theirs[name] = values
    torch.save({"model": theirs}, tmp_path / "theirs.pth")
    model = built(tmp_path / "theirs.pth", "convnext_atto", attention="none")
    assert torch.equal(features(model), features(source))


def test_weights_that_miss_tensors_are_refused_by_their_names(network, tmp_path):
    state = network.state_dict()
    names = [name for name, values in state.items() if values.is_floating_point()]
    torch.save({name: state[name] for name in names[:8]} | {"neck.weight": torch.ones(2)}, tmp_path / "part.pth")
    message = refused(tmp_path / "part.pth")
    assert str(tmp_path / "part.pth") in message and "8 of " in message
    assert f"First missing: {', '.join(names[8:11])}; first unexpected: neck.weight." in message
    torch.save({**state, names[0]: torch.ones(2, 2)}, tmp_path / "shape.pth")
    assert f"{names[0]} (there of shape (2, 2)" in refused(tmp_path / "shape.pth")


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"epoch": 3}, "test_resnet", torch.ones(2)], ids=str)
def test_files_without_tensors_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "none.pth")
    assert "holds no tensors" in refused(tmp_path / "none.pth")


def test_damaged_files_and_pickled_networks_are_refused(network, tmp_path):
    for suffix in ("pth", "safetensors"):
        (tmp_path / f"zero.{suffix}").touch()
        assert f"zero.{suffix} is " in refused(tmp_path / f"zero.{suffix}")
    (tmp_path / "junk.pth").write_bytes(b"junk" * 99)
    torch.save(network, tmp_path / "object.pth")
    for name in ("junk", "object"):
        assert f"{name}.pth cannot be read" in refused(tmp_path / f"{name}.pth")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(network, value, tmp_path):
    state = network.state_dict()
    last = [name for name in state if name.endswith("conv1.weight")][-1]
    save_file({**state, last: torch.full_like(state[last], value)}, tmp_path / "a.safetensors")
    assert f"{last} has NaN or infinite values" in refused(tmp_path / "a.safetensors")


def test_a_classifier_for_other_classes_does_not_keep_the_rest_from_loading(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "seven.pth")
    thousand = tuple(map(str, range(1000)))  # as many as timm's own weights have
    model = build_model(
        ModelConfig(backbone="test_resnet", weights=str(tmp_path / "seven.pth"), image_size=64), thousand
    )
    assert torch.equal(features(model), features(network))


def test_a_file_starts_attention_and_classifier_as_no_file_does(network, tmp_path):
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "a.pth")
    started = []
    for weights in ("none", str(tmp_path / "a.pth")):
        torch.manual_seed(5)
        model = build_model(ModelConfig(backbone="test_resnet", weights=weights, image_size=64), CLASSES)
        started.append({**model.attention.state_dict(), **model.get_classifier().state_dict()})
    assert all(torch.equal(value, started[1][name]) for name, value in started[0].items())


def test_a_damaged_model_of_a_run_is_named(tmp_path):
    save_model(build_model(ModelConfig(backbone="test_resnet", weights="none", image_size=64), CLASSES), tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="the model is damaged"):
            load_model(tmp_path / "m")
    save_file({"x": torch.ones(2)}, file)
    with pytest.raises(UserError, match="the model is damaged"):
        load_model(tmp_path / "m")
