"""Exported files: correct outputs for any number of images, self-describing, written completely or not at all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command import rsam

import rsam_app
from rsam_app.model import load_model, save_model
from rsam_app.model.export import export_model, format_of, onnx_file
from rsam_app.model.export.deployed import DeployedModel, describe, trace
from rsam_app.model.fitted import save_fitted
from rsam_app.system.errors import UserError

SIDE = 96
CLASSES = ["Açaí", "b & c", "d/e"]
MEAN, STD = (0.1, 0.5, 0.7), (0.3, 0.2, 0.4)


def photographs(count: int) -> np.ndarray:
    """uint8 images `(count, SIDE, SIDE, 3)` of a bright bar on noise."""
    draws = np.random.default_rng(count)
    images = draws.integers(0, 90, (count, SIDE, SIDE, 3), dtype=np.uint8)
    for i, (x, y) in enumerate(draws.integers(0, 40, (count, 2))):
        images[i, y : y + 20, x : x + 50] += 150
    return images


def by_hand(run, images: np.ndarray, temperature: float = 1.0) -> list[np.ndarray]:
    """The run's model's outputs, with normalisation and probabilities computed here."""
    values = ((images / 255.0 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        output = load_model(run.model)(torch.from_numpy(values), return_output=True)
    logits = output.logits.numpy()
    exponentials = np.exp(logits.astype(np.float64) / temperature)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return [logits, *([] if output.rectangle is None else [output.rectangle.numpy()]), probabilities]


def as_input(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / 255


def same(given: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(given) == len(expected)
    assert np.abs(given[0] - expected[0]).max() <= 1e-4 * np.abs(expected[0]).max()
    assert np.abs(given[-1] - expected[-1]).max() <= 1e-4
    if len(expected) == 3:
        assert np.abs(given[1] - expected[1]).max() <= 1e-4 * SIDE


@pytest.mark.parametrize(
    "attention", ["profiles", "moments", "regression", "second_look", "unsure", "positionwise", "none", "tokens"]
)
def test_onnx_outputs_equal_the_models(attention, runs, exported):
    session = onnxruntime.InferenceSession(str(exported(attention, ".onnx")), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    assert names == ["logits", *([] if attention == "none" else ["rectangle"]), "probabilities"]
    assert session.get_inputs()[0].shape == ["batch", 3, SIDE, SIDE]
    for count in (1, 4, 9):
        images = photographs(count)
        same(session.run(None, {"images": as_input(images)}), by_hand(runs[attention], images))


@pytest.mark.parametrize("attention", ["moments", "none"])
def test_torch_export_outputs_equal_the_models_without_this_package(attention, runs, exported, tmp_path):
    program = (
        "import sys, numpy as np, torch\n"
        f"model = torch.export.load({str(exported(attention, '.pt2'))!r}).module()\n"
        "inputs = np.load(sys.argv[1])\n"
        "outputs = [[o.detach().numpy() for o in model(torch.from_numpy(inputs[:n]))] for n in (1, 4)]\n"
        "np.savez(sys.argv[2], **{f'{n}_{i}': o for n, each in zip((1, 4), outputs) for i, o in enumerate(each)})\n"
        "assert not {'rsam_app', 'timm'} & set(sys.modules)\n"
    )
    images = photographs(4)
    np.save(tmp_path / "in.npy", as_input(images))
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "in.npy", tmp_path / "out.npz"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs = np.load(tmp_path / "out.npz")
    expected = by_hand(runs[attention], images)
    assert len(outputs.files) == 2 * len(expected)
    for count in (1, 4):
        same([outputs[f"{count}_{i}"] for i in range(len(expected))], [e[:count] for e in expected])


def test_files_describe_themselves_and_nothing_of_the_machine(exported):
    model = onnx.load(exported("moments", ".onnx"))
    onnx.checker.check_model(model)
    inside = {p.key: p.value for p in model.metadata_props}
    extra = {"description.json": ""}
    torch.export.load(exported("moments", ".pt2"), extra_files=extra)
    beside = json.loads(exported("moments", ".onnx").with_name("moments.onnx.json").read_text("utf-8"))
    for said in ({k: json.loads(inside[k]) for k in ("classes", "mean", "std", "outputs", "input_size")},
                 json.loads(extra["description.json"]), beside):  # fmt: skip
        assert said["classes"] == CLASSES
        assert said["mean"] == pytest.approx(MEAN) and said["std"] == pytest.approx(STD)
        assert said["input_size"] == ["batch", 3, SIDE, SIDE]
        assert (
            list(said["outputs"]) == ["logits", "rectangle", "probabilities"]
            and "radians" in said["outputs"]["rectangle"]
        )
    assert beside["file"] == "moments.onnx" and max(d["relative"] for d in beside["checked"].values()) <= 1e-4
    for suffix in (".onnx", ".pt2"):
        content = exported("moments", suffix).read_bytes()
        assert str(Path(rsam_app.__file__).parent).encode() not in content and b"site-packages" not in content


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_the_fitted_temperature_is_inside_the_probabilities_and_said(suffix, runs, tmp_path):
    run, out = runs["positionwise"], tmp_path / f"x{suffix}"
    shutil.copytree(run.path, tmp_path / "run")
    plain = rsam("export-model", tmp_path / "run", tmp_path / f"plain{suffix}").stdout
    assert "not calibrated" in plain and f"`rsam predict {tmp_path / 'run'}`" in plain
    save_fitted(tmp_path / "run" / "model", temperature=2.5)
    assert "softmax(logits / 2.500)" in rsam("export-model", tmp_path / "run", out).stdout
    assert json.loads(Path(f"{out}.json").read_text("utf-8"))["temperature"] == 2.5
    images = photographs(4)
    if suffix == ".onnx":
        assert {p.key: p.value for p in onnx.load(out).metadata_props}["temperature"] == "2.5"
        outputs = onnxruntime.InferenceSession(str(out)).run(None, {"images": as_input(images)})
    else:
        outputs = [o.detach().numpy() for o in torch.export.load(out).module()(torch.from_numpy(as_input(images)))]
    same(outputs, by_hand(run, images, 2.5))
    assert np.abs(outputs[-1] - by_hand(run, images)[-1]).max() > 1e-3


class OfSingularValues(DeployedModel):
    """Adds an operation that ONNX does not have."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return super().forward(images * torch.linalg.svdvals(images).mean())


def test_a_network_that_onnx_cannot_hold_is_named_with_the_reason(runs, tmp_path):
    deployed = OfSingularValues(load_model(runs["none"].model)).eval()
    expected = (
        r"^export-model: test_resnet cannot be converted to ONNX \(.*svd.*\)\.\nExport to a \.pt2 file instead\.$"
    )
    with pytest.raises(UserError, match=expected):
        onnx_file.write(trace(deployed, 1, False), deployed, describe(deployed, 1), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


class OfBrightImages(DeployedModel):
    """Decides by the values of its images, as no graph can."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return super().forward(images if images.mean() > 0.5 else 1 - images)


def test_a_network_that_decides_by_values_is_named_with_the_reason(runs):
    deployed = OfBrightImages(load_model(runs["none"].model)).eval()
    for batch in (None, 1):
        with pytest.raises(UserError, match=r"test_resnet cannot be traced \(.*data-dependent.*\)\.\nChoose another"):
            trace(deployed, batch)


def test_a_fixed_number_of_images_and_json(runs, tmp_path):
    said = json.loads(
        rsam("export-model", runs["none"].path, tmp_path / "x", "--format", "onnx", "--batch", 2, "--json").stdout
    )
    assert (said["format"], said["batch"], said["bytes"]) == ("onnx", 2, (tmp_path / "x").stat().st_size)
    assert said["differences"]["logits"]["relative"] <= 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "x"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [2, 3, SIDE, SIDE]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x", "x.json"]


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("there.onnx", [], r"there\.onnx: exists"),
        ("half.onnx", [], r"half\.onnx\.json: exists"),
        ("model.xyz", [], r"suffix names no format.*--format"),
        ("model", ["--format", "tflite"], r"'tflite' is not one of 'onnx', 'torch-export'"),
        ("model.onnx", ["--format", "torch-export"], r"suffix says onnx"),
        ("model.onnx", ["--batch", "0"], r"--batch 0: expected"),
        ("model.onnx", ["--batch", "many"], r"--batch many: expected"),
        ("there.onnx/model.pt2", [], r"not written"),
    ],
)
def test_user_errors_are_reported_and_change_nothing(out, options, message, runs, tmp_path):
    (tmp_path / "there.onnx").write_text("mine")
    (tmp_path / "half.onnx.json").write_text("mine")
    said = rsam("export-model", runs["none"].path, tmp_path / out, *options, check=2).stderr
    assert re.search(message, said, re.S), said
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"there.onnx": "mine", "half.onnx.json": "mine"}


def test_a_folder_without_a_run_or_a_trained_model_is_named(runs, tmp_path):
    assert "not a run folder" in rsam("export-model", tmp_path, tmp_path / "x.onnx", check=2).stderr
    fresh = type(runs["none"])(tmp_path / "fresh")
    fresh.save_pipeline(runs["none"].load_pipeline())
    assert "no trained model" in rsam("export-model", fresh.path, tmp_path / "x.onnx", check=2).stderr


def test_a_missing_package_is_named_with_the_remedy(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # Python's own mark for a module that cannot be imported
    said = rsam("export-model", runs["none"].path, tmp_path / "x.onnx", check=2).stderr
    assert "onnxscript" in said and "pip install 'rsam-app[onnx]'" in said and ".pt2" in said
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_not_left_behind(runs, tmp_path):
    """The writer gets a model whose classifier is off by a thousandth."""
    right = format_of(Path("x.pt2"), None)

    def write_another(program, deployed, description, path):
        with torch.no_grad():
            deployed.model.backbone.fc.weight *= 1.001
        right.write(trace(deployed, None), deployed, description, path)
        with torch.no_grad():
            deployed.model.backbone.fc.weight /= 1.001

    with pytest.raises(UserError, match=r"its logits differ .* of their scale \(1e-04 is allowed\)"):
        export_model(runs["moments"].model, tmp_path / "x.pt2", replace(right, write=write_another))
    assert not list(tmp_path.iterdir())


def test_a_model_with_outputs_that_are_not_finite_is_refused(runs, tmp_path):
    model = load_model(runs["moments"].model)
    with torch.no_grad():
        model.backbone.fc.weight.fill_(3e38)  # finite weights, but the logits overflow
    save_model(model, tmp_path / "model")
    with pytest.raises(UserError, match="not finite"):
        export_model(tmp_path / "model", tmp_path / "x.pt2", format_of(Path("x.pt2"), None))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_leftovers_of_a_killed_export_are_removed(runs, tmp_path):
    (tmp_path / ".x.pt2.partial").mkdir()
    (tmp_path / ".x.pt2.partial" / "model.pt2").write_text("half")
    export_model(runs["none"].model, tmp_path / "x.pt2", format_of(Path("x.pt2"), None))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pt2", "x.pt2.json"]
