"""A photograph gets the same answer from every way in: Python, command, predictions table, ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from command import rsam
from PIL import Image

import rsam_app
from rsam_app.data.augmentation.random_view import whole_image

SURE = ("sure_level", "sure", "sure_probability")


def rolled_up(probabilities: np.ndarray, classes: list[str], roll_up: dict[str, Any]) -> tuple[str, str, float] | None:
    """The sure answer of an exported file, by its metadata alone, as docs/scores.md has it."""
    for level, nodes in zip(("class", *roll_up["levels"]), (classes, *roll_up["nodes"]), strict=True):
        shares = {node: probabilities[np.array(nodes) == node].sum() for node in nodes}
        best = max(shares, key=shares.__getitem__)
        if shares[best] >= roll_up["threshold"]:
            return level, best, shares[best]
    return None


def test_every_way_in_gives_the_same_answer(tmp_path: Path) -> None:
    import onnxruntime

    generator = np.random.default_rng(0)
    colours = {"red": (200, 40, 40), "blue": (40, 40, 200), "green": (40, 200, 40)}
    for split, count in (("train", 16), ("val", 8), ("test", 3)):
        for label in colours:
            below = tmp_path / "photographs" / split / label
            below.mkdir(parents=True)
            for number in range(count):
                # One image of blue and of green is turquoise, so that there are mistakes and unsure answers.
                shown = (40, 120, 120) if split != "train" and label != "red" and not number else colours[label]
                pixels = generator.normal(shown, 60, (70, 90, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(below / f"{number}.png")
    (tmp_path / "warmth.csv").write_text("class,warmth\nred,warm\nblue,cold\ngreen,cold\n")
    card = {"name": "colours", "layout": "folder", "root": str(tmp_path / "photographs"), "taxonomy": "warmth.csv"}
    (tmp_path / "colours.yaml").write_text(yaml.safe_dump(card))
    run = tmp_path / "runs" / "colours"
    model = {"backbone": "resnet10t", "weights": "none", "image_size": 64}
    training = {"epochs": 3, "batch_size": 8, "trackers": [], "workers": 0, "precision": "float32"}
    rsam_app.fit(tmp_path / "colours.yaml", run, model=model, train=training)

    table = pq.read_table(run / "predictions" / "test.parquet").to_pylist()
    paths = [row["path"] for row in table]
    assert len(paths) == 9
    answers = rsam_app.load(run).predict(paths)
    printed = [json.loads(line) for line in rsam("predict", run, *paths, "--json").stdout.splitlines()]
    rsam("export-model", run, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    about = session.get_modelmeta().custom_metadata_map
    classes, names = json.loads(about["classes"]), [output.name for output in session.get_outputs()]
    roll_up = json.loads(about["roll_up"])

    for row, answer, line in zip(table, answers, printed, strict=True):
        with Image.open(row["path"]) as image:
            pixels = np.array(image.convert("RGB"))
        view, to_image = whole_image(pixels, 64, (90, 70))
        exported = session.run(None, {"images": view.transpose(2, 0, 1)[None].astype(np.float32) / 255})
        outputs = {name: values[0] for name, values in zip(names, exported, strict=True)}
        for other in (answer.logits, line["logits"], outputs["logits"]):
            assert np.allclose(other, row["logits"], atol=1e-3)
        for other in (answer.probability, line["calibrated_confidence"], outputs["probabilities"].max()):
            assert abs(other - row["calibrated_confidence"]) < 1e-3
        assert classes[int(outputs["logits"].argmax())] == row["predicted"] == answer.label == line["predicted"]
        assert answer.rectangle is not None
        centre = to_image @ [*outputs["rectangle"][:2], 1]
        for other in (answer.rectangle[:2], (line["cx"], line["cy"]), centre):
            assert np.allclose(other, (row["cx"], row["cy"]), atol=0.05)
        assert abs(answer.unknown - row["unknown"]) < 0.2  # type: ignore[operator]  # the run's embeddings are float16
        level, name, probability = (row[column] for column in SURE)
        exported_sure = rolled_up(outputs["probabilities"], classes, roll_up)
        for other in (answer.sure, tuple(line[column] for column in SURE), exported_sure):
            assert other is not None and other[:2] == (level, name)
            assert abs(other[2] - probability) < 1e-3
    assert {row["sure_level"] for row in table} == {"class", "warmth"}
