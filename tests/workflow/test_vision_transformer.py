"""Vision transformers through the whole product, frozen and fine-tuned: run, review, photographs, export, reload."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch
import yaml
from command import rsam
from safetensors.torch import load_file, save_file

from rsam_app.data.augmentation.random_view import whole_image
from rsam_app.data.synthetic import generate
from rsam_app.evaluation.inference.photographs import decode
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.run.predictions import read_predictions, score_names

SIDE, DEPTH, NAME = 96, 2, "transformer-beetles"
MODELS = (("frozen", "test_vit"), ("tuned", "test_vit4"))
"""Of timm's: with a class token; with a register token and the mean of the patches."""


def test_a_vision_transformer_goes_through_the_whole_product(fiftyone_module: ModuleType, tmp_path: Path) -> None:
    images = generate(tmp_path / "beetles", images_per_species=10, species=4).images
    card = {"name": NAME, "layout": "manifest", "root": str(tmp_path / "beetles" / "manifest.csv")}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    for name, backbone in MODELS:
        run, weights = tmp_path / "runs" / name, tmp_path / f"{backbone}.safetensors"
        torch.manual_seed(0)
        save_file(timm.create_model(backbone, depth=DEPTH).state_dict(), weights)
        settings = {
            "dataset": str(tmp_path / "card.yaml"),
            "model": {
                "backbone": backbone,
                "backbone_args": {"depth": DEPTH},
                "weights": str(weights),
                "image_size": SIDE,
            },
            "train": {
                "epochs": 1,
                "batch_size": 16,
                "workers": 0,
                "trackers": [],
                "frozen_backbone": name == "frozen",
                "precision": "float32",  # as the exported file computes
            },
            "select": {"budget": 3},
        }
        (tmp_path / "beetles.yaml").write_text(yaml.safe_dump(settings))
        said = rsam("run", tmp_path / "beetles.yaml", "--run", run).stderr
        assert "3 images chosen" in said and "unusual_geometry: fewer than 50 training images have rectangles\n" in said
        assert backbone_is(run, weights) == (name == "frozen")

        table = read_predictions(run / "predictions")
        assert sorted(table.column("id").to_pylist()) == sorted(images)
        in_range(table)
        assert "<html" in (run / "evaluation" / "report.html").read_text()
        localization = json.loads((run / "evaluation" / "metrics.json").read_text())["localization"]
        assert localization["truth"] == "boxes" and 0 < localization["mean_iou"] < 1
        review_set = fiftyone_module.load_dataset(NAME)
        assert review_set.match_tags("relabel").count() >= 3
        shown(review_set, name, table)
        same_answers(run, table.slice(0, 4))


def backbone_is(run: Path, weights: Path) -> bool:
    """Whether the run's model has the blocks of these weights."""
    trained = load_file(run / "model" / "model.safetensors")
    blocks = {name: values for name, values in load_file(weights).items() if name.startswith("blocks.")}
    assert blocks
    return all(torch.equal(trained[f"backbone.{name}"], values) for name, values in blocks.items())


def in_range(table: pa.Table) -> None:
    """Every image has a rectangle, its box lies within the image, and every score of [0, 1] but one has values."""
    rectangles = np.array([table.column(name).to_numpy() for name in RECTANGLE_FIELDS])
    assert np.isfinite(rectangles).all() and (rectangles[2:4] > 0).all()
    x, y, width, height = np.array(table.column("box").to_pylist()).T
    assert min(x.min(), y.min()) >= 0 and min(width.min(), height.min()) > 0
    assert max((x + width).max(), (y + height).max()) <= 1 + 1e-6
    scores = {name: table.column(name).drop_null().to_numpy() for name in score_names(table)}
    assert {name for name, values in scores.items() if not len(values)} == {"unusual_geometry"}
    assert {"misattention", "outside_evidence", "instability", "off_object", "label_quality"} <= set(scores)
    assert all(values.min() >= 0 and values.max() <= 1 for values in scores.values() if len(values))


def shown(review_set: Any, key: str, table: pa.Table) -> None:
    """FiftyOne has the table's classes, rectangles and scores."""
    rows = {row["id"]: row for row in table.to_pylist()}
    fields = ("record_id", *(f"{key}_{name}" for name in ("prediction", "attention", "rectangle", "misattention")))
    for record_id, prediction, attention, rectangle, score in zip(*review_set.values(fields), strict=True):
        row = rows.pop(record_id)
        (detection,), (polyline,) = attention.detections, rectangle.polylines
        assert prediction.label == detection.label == row["predicted"] and score == row["misattention"]
        assert detection.bounding_box == row["box"]
        assert np.ravel(polyline.points).tolist() == row["corners"]
    assert not rows and set(review_set.distinct(f"{key}_triage")) <= {"trust", "relabel", "re-attend", "hard"}


def same_answers(run: Path, table: pa.Table) -> None:
    """`rsam predict PATH` and timm agree with the table, and for one of the models the exported file."""
    import onnxruntime

    paths, answers = table.column("path").to_pylist(), run.with_suffix(".parquet")
    rsam("predict", run, *paths, "--output", answers)
    model = timm.create_model(f"local-dir:{run / 'model'}").eval()
    views, maps = zip(*(whole_image(decode(p, SIDE).pixels, SIDE, decode(p).size) for p in paths), strict=True)
    images = np.stack(views).transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, std = (torch.tensor(model.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        reloaded = model((torch.from_numpy(images) - mean) / std, return_output=True)
    outputs = [(reloaded.logits.numpy(), reloaded.rectangle.numpy())]
    if run.name == "tuned":
        rsam("export-model", run, run.with_suffix(".onnx"))
        session = onnxruntime.InferenceSession(run.with_suffix(".onnx"))
        outputs.append(tuple(session.run(["logits", "rectangle"], {"images": images})))
    of_answers = (np.array(pq.read_table(answers).column("logits").to_pylist()), centres(pq.read_table(answers)))
    of_views = [
        (logits, [to_image @ [*rectangle[:2], 1] for to_image, rectangle in zip(maps, rectangles, strict=True)])
        for logits, rectangles in outputs
    ]
    for logits, places in (of_answers, *of_views):
        np.testing.assert_allclose(logits, table.column("logits").to_pylist(), atol=1e-4)
        np.testing.assert_allclose(places, centres(table), atol=0.05)


def centres(table: pa.Table) -> np.ndarray:
    """The centres `(N, 2)` of a table's rectangles, in image pixels."""
    return np.stack([table.column("cx").to_numpy(), table.column("cy").to_numpy()], axis=1)
