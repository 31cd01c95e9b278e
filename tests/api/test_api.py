"""The Python interface on a small trained run: the answers of every way in are the same."""

from __future__ import annotations

import csv
import json
import logging
import runpy
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from command import rsam
from PIL import Image

import rsam_app
from rsam_app.review.annotation_tools.formats import from_cvat, from_label_studio
from rsam_app.run.predictions import SCHEMA

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SETTINGS = {
    "model": {"backbone": "resnet10t", "weights": "none", "image_size": 64},
    "train": {"epochs": 1, "batch_size": 16, "trackers": [], "workers": 0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("api")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 7), ("test", 4)):
        for label, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200)), ("green", (40, 200, 40))):
            below = root / "photographs" / split / label
            below.mkdir(parents=True)
            for number in range(count):
                pixels = generator.normal(colour, 30, (90, 120, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(below / f"{label}{number}.jpg", quality=95)
    return root


@pytest.fixture(scope="module")
def model(folder: Path) -> rsam_app.TrainedModel:
    return rsam_app.fit(folder / "photographs", folder / "runs" / "colours", **SETTINGS)


@pytest.fixture(scope="module")
def photographs(folder: Path) -> list[str]:
    return [str(path) for path in sorted((folder / "photographs" / "test").rglob("*.jpg"))]


def test_fit_leaves_a_run_that_the_commands_know(folder: Path, model: rsam_app.TrainedModel) -> None:
    assert model.classes == ("blue", "green", "red")
    metrics = rsam_app.evaluate(folder / "runs" / "colours", "test")
    assert metrics["n"] == 12
    assert json.loads((folder / "runs/colours/evaluation/metrics.json").read_text())["top1"] == metrics["top1"]
    printed = rsam("evaluate", folder / "runs" / "colours", "--split", "test", "--json").stdout
    assert json.loads(printed)["top1"] == metrics["top1"]


def test_fit_does_nothing_again(folder: Path, model: rsam_app.TrainedModel) -> None:
    weights = folder / "runs" / "colours" / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    rsam_app.fit(folder / "photographs", folder / "runs" / "colours", **SETTINGS)
    assert weights.stat().st_mtime_ns == before


def test_answers_equal_the_predictions_table(
    folder: Path, model: rsam_app.TrainedModel, photographs: list[str]
) -> None:
    table = pq.read_table(folder / "runs" / "colours" / "predictions" / "test.parquet").to_pylist()
    rows = {Path(row["path"]).name: row for row in table}
    for answer in model.predict(photographs):
        row = rows[Path(answer.image).name]
        assert answer.label == row["predicted"]
        assert answer.confidence == pytest.approx(row["confidence"], abs=1e-5)
        assert answer.probability == pytest.approx(row["calibrated_confidence"], abs=1e-5)
        assert answer.unknown == pytest.approx(row["unknown"], abs=0.3)  # embeddings in the run are float16
        assert np.allclose(answer.logits, row["logits"], atol=1e-4)
        assert answer.rectangle is not None
        assert np.allclose(answer.rectangle, [row[name] for name in answer.rectangle._fields], atol=1e-2)
        assert answer.size == (120, 90)
        assert answer.box is not None
        assert np.allclose(np.array(answer.box) / [120, 90, 120, 90], row["box"], atol=1e-4)
        assert sum(share for _, share in answer.top) == pytest.approx(1)


def test_every_form_of_a_photograph_gives_the_same_answer(model: rsam_app.TrainedModel, photographs: list[str]) -> None:
    path = photographs[0]
    with Image.open(path) as image:
        picture = image.convert("RGB")
    array = np.array(picture)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    forms = [path, Path(path), picture, array, tensor, tensor / 255, array / 255]
    answers = [model.predict(form) for form in forms] + model.predict(np.stack([array])) + model.predict(tensor[None])
    assert answers == [model.predict([path])[0].__class__(**{**vars_of(answers[0]), "image": a.image}) for a in answers]


def vars_of(answer: rsam_app.Answer) -> dict[str, object]:
    return {name: getattr(answer, name) for name in answer.__dataclass_fields__}


def test_no_photographs_give_no_answers(model: rsam_app.TrainedModel) -> None:
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((4, 4, 7), np.uint8), r"image 1: an array of shape \(4, 4, 7\)"),
        (np.full((4, 4, 3), 7.0), "Give values in"),
        (np.full((4, 4, 3), np.nan), "Give values in"),
        (np.zeros((4, 4, 3), np.int64), "array of int64"),
        ([3], "a value of type int"),
        ("absent.jpg", "absent.jpg: no such file"),
    ],
)
def test_what_is_no_photograph_is_refused(model: rsam_app.TrainedModel, wrong: object, message: str) -> None:
    with pytest.raises(rsam_app.UserError, match=message):
        model.predict(wrong)


def test_an_image_of_too_many_pixels_is_named(model: rsam_app.TrainedModel, tmp_path: Path) -> None:
    Image.new("1", (30_000, 8_000)).save(tmp_path / "panorama.png")
    with pytest.raises(
        rsam_app.UserError, match=r"panorama.png: cannot be read as an image \(more than 178,956,970 pix"
    ):
        model.predict(tmp_path / "panorama.png")


def test_the_stream_goes_on_after_a_broken_file(
    model: rsam_app.TrainedModel, photographs: list[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"junk")
    answers = list(model.stream([photographs[0], tmp_path / "broken.jpg", photographs[1]]))
    assert [type(answer).__name__ for answer in answers] == ["Answer", "Skipped", "Answer"]
    assert "not an image, or in an unknown format" in answers[1].reason  # type: ignore[union-attr]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_predict_writes_a_row_for_each_photograph(
    folder: Path, model: rsam_app.TrainedModel, photographs: list[str], tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"answers.{ending}"
    (tmp_path / "broken.jpg").write_bytes(b"junk")
    below, broken = folder / "photographs" / "test", tmp_path / "broken.jpg"
    done = rsam("predict", folder / "runs" / "colours", below, broken, photographs[0], "--output", output)
    assert f"{broken}: cannot be read" in done.stderr
    assert "12 predictions written to" in done.stderr
    assert "1 could not be read" in done.stderr
    rows = {"csv": _csv_rows, "jsonl": _json_rows, "parquet": lambda path: pq.read_table(path).to_pylist()}[ending](
        output
    )
    sure = ("sure", "sure_level", "sure_probability")
    assert set(rows[0]) == {*SCHEMA.names, "calibrated_confidence", "unknown", *sure, "top", "top_probabilities"}
    assert not any(row[name] for row in rows for name in sure)  # the dataset has no taxonomy
    answers = {answer.image: answer for answer in model.predict(photographs)}
    assert {row["path"] for row in rows} == set(answers)
    for row in rows:
        answer = answers[row["path"]]
        assert row["predicted"] == answer.label
        assert float(row["calibrated_confidence"]) == pytest.approx(answer.probability, abs=1e-5)
        assert np.allclose(row["logits"], answer.logits, atol=1e-4)


def _csv_rows(path: Path) -> list[dict[str, object]]:
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{k: json.loads(v) if k in ("logits", "top", "box") else v for k, v in row.items()} for row in rows]


def _json_rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_predict_draws_into_no_folder_with_files(folder: Path, photographs: list[str], tmp_path: Path) -> None:
    kept = tmp_path / "blue0.jpg"
    kept.write_bytes(Path(photographs[0]).read_bytes())
    done = rsam("predict", folder / "runs" / "colours", kept, "--draw", tmp_path, check=2)
    assert "is not empty" in done.stderr
    assert kept.read_bytes() == Path(photographs[0]).read_bytes()


def test_predict_draws_pictures(folder: Path, photographs: list[str], tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    rsam("predict", folder / "runs" / "colours", photographs[0], photographs[4], "--draw", drawn)
    assert len(list(drawn.iterdir())) == 2
    with Image.open(drawn / Path(photographs[0]).name) as picture, Image.open(photographs[0]) as original:
        assert picture.size == original.size
        assert np.abs(np.array(picture, float) - np.array(original, float)).max() > 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.jpg"], "absent.jpg: no such file or folder"),
        (["*.absent"], "no file matches"),
        (["https://127.0.0.1:9/bird.jpg"], "cannot be reached"),
        (["{photograph}", "--output", "answers.txt"], "unknown ending '.txt'"),
        (["{photograph}", "--split", "test"], "leave them out, or the PATHs"),
        (["--output", "answers.csv"], "need PATHs"),
    ],
)
def test_predict_refuses_in_a_line(
    folder: Path, model: rsam_app.TrainedModel, photographs: list[str], arguments: list[str], message: str
) -> None:
    given = [argument.replace("{photograph}", photographs[0]) for argument in arguments]
    done = rsam("predict", folder / "runs" / "colours", *given, check=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_load_names_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(rsam_app.UserError, match="not a run folder"):
        rsam_app.load(tmp_path)


def test_load_takes_the_folder_of_a_saved_model(
    folder: Path, model: rsam_app.TrainedModel, photographs: list[str]
) -> None:
    saved = folder / "runs" / "colours" / "model"
    for name in (saved, f"local-dir:{saved}"):
        assert rsam_app.load(name).predict(photographs) == model.predict(photographs)


def test_select_writes_the_list(folder: Path, model: rsam_app.TrainedModel) -> None:
    chosen = rsam_app.select(folder / "runs" / "colours", "margin", 5, "train")
    assert len(chosen.ids) == 5
    assert len(chosen.csv.read_text().splitlines()) == 6


def test_the_library_logs_and_prints_nothing(
    folder: Path, model: rsam_app.TrainedModel, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="rsam_app"):
        rsam_app.evaluate(folder / "runs" / "colours", "val")
    assert "report:" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_prediction_needs_no_fiftyone_and_no_plots(
    folder: Path, model: rsam_app.TrainedModel, photographs: list[str]
) -> None:
    program = f"""
import sys, rsam_app
print(rsam_app.load({str(folder / "runs" / "colours")!r}).predict({photographs[0]!r}).label)
heavy = [m for m in ("fiftyone", "matplotlib", "sklearn", "accelerate", "pandas", "pyarrow") if m in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("red", "blue", "green")


def test_the_example_page_shows_picture_and_classes(model: rsam_app.TrainedModel, photographs: list[str]) -> None:
    page: dict[str, Callable[..., tuple[Image.Image, dict[str, float]]]] = runpy.run_path(f"{EXAMPLES}/space/app.py")
    with Image.open(photographs[0]) as picture:
        drawn, classes = page["classify"](model, picture)
        assert drawn.size == picture.size
    assert set(classes) == {"blue", "green", "red"}


def test_the_example_backend_answers_label_studio(
    folder: Path, model: rsam_app.TrainedModel, photographs: list[str]
) -> None:
    backend = runpy.run_path(f"{EXAMPLES}/label_studio/backend.py")["serve"](str(folder / "runs" / "colours"), 0)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{backend.server_port}"

    def post(path: str, **content: Any) -> Any:
        with urllib.request.urlopen(f"{address}{path}", json.dumps(content).encode(), timeout=60) as answer:
            return json.load(answer)

    try:
        assert json.load(urllib.request.urlopen(f"{address}/health", timeout=60))["status"] == "UP"
        assert post("/setup")["model_version"].endswith("colours")
        tasks = [{"data": {"image": f"/data/local-files/?d={quote(path.lstrip('/'))}"}} for path in photographs[:2]]
        told = post("/predict", tasks=tasks)["results"]
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post("/predict", tasks=[{"data": {"image": str(folder / "nothing.jpg")}}])
    finally:
        backend.shutdown()
        backend.server_close()
    for shown, answer in zip(told, model.predict(photographs[:2]), strict=True):
        label, region = shown["result"]
        assert label["value"]["choices"] == [answer.label]
        assert shown["score"] == pytest.approx(answer.probability, abs=1e-5)
        extent = (region["original_width"], region["original_height"])
        assert from_label_studio(region["value"], extent) == pytest.approx(answer.rectangle, abs=1e-3)


def test_the_example_function_annotates_for_cvat(
    folder: Path, model: rsam_app.TrainedModel, photographs: list[str]
) -> None:
    function = runpy.run_path(f"{EXAMPLES}/cvat/function.py")["create"](str(folder / "runs" / "colours"))
    assert {(label.name, label.type) for label in function.spec.labels} == {
        ("target", "rectangle"), ("blue", "tag"), ("green", "tag"), ("red", "tag"),
    }  # fmt: skip
    with Image.open(photographs[0]) as picture:
        tag, box = function.detect(SimpleNamespace(conf_threshold=None), picture)
        assert function.detect(SimpleNamespace(conf_threshold=1.0), picture) == []
        answer = model.predict(picture)
    assert {label.id: label.name for label in function.spec.labels}[tag.label_id] == answer.label
    numbers = dict(zip(("xtl", "ytl", "xbr", "ybr"), box.points, strict=True))
    assert from_cvat({**numbers, "rotation": box.rotation}) == pytest.approx(answer.rectangle, abs=1e-3)


def test_every_public_name_is_there() -> None:
    assert set(rsam_app.__all__) <= set(dir(rsam_app))
    for name in rsam_app.__all__:
        assert getattr(rsam_app, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        rsam_app.nonsense  # noqa: B018
