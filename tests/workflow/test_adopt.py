"""A plain timm checkpoint becomes a run with the same answers, rectangles and everything that follows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from command import rsam
from PIL import Image
from torch import nn

import rsam_app
from rsam_app.data.augmentation.random_view import whole_image
from rsam_app.evaluation.inference.trained_model import network_of
from rsam_app.run.folder import RunFolder

CLASSES = ("004.Red_Beetle", "blue beetle", "Green-Beetle")
OWN = ("unused", "Green beetle", "red beetle", "Blue Beetle")
COLOURS = {"004.Red_Beetle": (200, 40, 40), "blue beetle": (40, 40, 200), "Green-Beetle": (40, 200, 40)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three classes with its card, and checkpoints of a network for four others in another order."""
    root = tmp_path_factory.mktemp("adopt")
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        for label in CLASSES:
            below = root / "photographs" / split / label
            below.mkdir(parents=True)
            for number in range(count):
                pixels = generator.normal(COLOURS[label], 30, (60, 80, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(below / f"{number}.jpg", quality=95)
    (root / "colours.yaml").write_text(f"name: colours\nlayout: folder\nroot: {root / 'photographs'}\n")
    (root / "names.txt").write_text("\n".join(OWN) + "\n")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=4)
    torch.save(network.state_dict(), root / "plain.pth")
    prefixed = {f"module._orig_mod.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": prefixed, "epoch": 3}, root / "wrapped.pth")
    torch.save(network, root / "pickled.pth")
    timm.models.save_for_hf(
        network, str(root / "saved"), model_config={"label_names": list(OWN)}, safe_serialization=True
    )
    torch.save({k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}, root / "headless.pth")
    return root


@pytest.fixture(scope="module")
def run(root: Path) -> Path:
    run = root / "runs" / "adopted"
    arguments = [
        "--data",
        root / "colours.yaml",
        "--run",
        run,
        "--backbone",
        "resnet10t",
        "--classes",
        root / "names.txt",
    ]
    assert "nothing changed" not in rsam("adopt", root / "plain.pth", *arguments).stderr, (
        "no stage precedes an adoption"
    )
    return run


def test_its_answers_are_those_of_the_plain_model(root: Path, run: Path) -> None:
    path = next((root / "photographs" / "test").rglob("*.jpg"))
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB"))
    plain = timm.create_model("resnet10t", num_classes=4, checkpoint_path=str(root / "plain.pth")).eval()
    side = plain.pretrained_cfg["input_size"][-1]
    view, _ = whole_image(pixels, side, (pixels.shape[1], pixels.shape[0]))
    mean, std = (torch.tensor(plain.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = plain(((torch.from_numpy(view).permute(2, 0, 1) / 255 - mean) / std)[None])[0]
    model = rsam_app.TrainedModel(network_of(RunFolder(run)), torch.device("cpu"), "float32")
    assert model.classes == tuple(sorted(CLASSES))
    answer = model.predict(path)
    rows = [OWN.index(name) for name in ("red beetle", "Green beetle", "Blue Beetle")]
    assert np.allclose(answer.logits, expected[rows], atol=1e-4)
    assert answer.rectangle is not None


def test_the_run_is_predicted_evaluated_and_selected_from(run: Path) -> None:
    assert json.loads((run / "evaluation" / "metrics.json").read_text())["n"] == 12
    assert {path.stem for path in (run / "predictions").glob("*.parquet")} == {"train", "val", "test"}
    assert json.loads((run / "run.json").read_text())["adopted"]["outputs"] == 4
    chosen = rsam_app.select(run, "misattention", 4)
    assert len(chosen.ids) == 4
    assert rsam_app.select(run, "k_center", 4).ids


def test_it_is_not_trained_again(run: Path) -> None:
    weights = run / "model" / "model.safetensors"
    before = weights.read_bytes()
    rsam("evaluate", run)
    assert weights.read_bytes() == before


@pytest.mark.parametrize("checkpoint", ["wrapped.pth", "saved/model.safetensors", "local-dir:saved"])
def test_other_forms_give_the_same_model(root: Path, run: Path, tmp_path: Path, checkpoint: str) -> None:
    given = checkpoint.replace("local-dir:", f"local-dir:{root}/") if ":" in checkpoint else root / checkpoint
    extra = [] if "saved" in checkpoint else ["--backbone", "resnet10t", "--classes", root / "names.txt"]
    done = rsam("adopt", given, "--data", root / "colours.yaml", "--run", tmp_path / "other", "--json", *extra)
    assert json.loads(done.stdout)["metrics"]["n"] == 12
    assert ("those of timm's resnet10t are assumed: mean [0.485, 0.456" in done.stderr) == ("saved" not in checkpoint)
    photograph = next((root / "photographs" / "test").rglob("*.jpg"))
    logits = [rsam_app.load(folder).predict(photograph).logits for folder in (run, tmp_path / "other")]
    assert np.allclose(*logits, atol=1e-5)


@pytest.mark.parametrize(
    ("checkpoint", "extra", "message"),
    [
        ("plain.pth", [], "does not say which network it is for"),
        ("plain.pth", ["--backbone", "resnet10tt"], "timm has no such network. Did you mean 'resnet10t'?"),
        ("plain.pth", ["--backbone", "resnet10t"], "has 4 outputs, and the checkpoint names none of them"),
        ("plain.pth", ["--backbone", "resnet10t", "--classes", "{root}/colours.yaml"], "lists 3 names"),
        ("plain.pth", ["--backbone", "resnet10t", "--classes", "{root}/wrong.txt"], "are none of them: 004.Red_Beetle"),
        ("plain.pth", ["--backbone", "resnet18"], "tensors fit resnet18"),
        ("headless.pth", ["--backbone", "resnet10t"], "has no classifier"),
        ("pickled.pth", ["--backbone", "resnet10t"], "cannot be read as a checkpoint of tensors"),
        ("absent.pth", [], "no such file"),
        ("resnet10tt", [], "Did you mean"),
    ],
)
def test_what_cannot_be_adopted_is_refused_in_two_lines(
    root: Path, tmp_path: Path, checkpoint: str, extra: list[str], message: str
) -> None:
    (root / "wrong.txt").write_text("a\nb\nc\nd\n")
    given = root / checkpoint if checkpoint.endswith(".pth") else checkpoint
    arguments = [argument.replace("{root}", str(root)) for argument in extra]
    done = rsam("adopt", given, "--data", root / "colours.yaml", "--run", tmp_path / "run", *arguments, check=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert not (tmp_path / "run").exists()


def test_a_model_with_another_last_layer_is_refused() -> None:
    from rsam_app.model.adopted import Plain, adopt

    network = timm.create_model("resnet10t", num_classes=4)
    network.fc = nn.Sequential(nn.Linear(512, 4))
    with pytest.raises(rsam_app.UserError, match="its last layer is Sequential, not linear"):
        adopt(Plain(network, "resnet10t", {}), [0, 1], ("a", "b"))
