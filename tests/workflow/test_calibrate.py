"""What is fitted to validation predictions, saved with the model and applied: the temperature, the known classes, and
the threshold from which answers are sure."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
import yaml
from command import rsam
from PIL import Image
from rich.console import Console
from scipy.optimize import brentq
from scipy.special import softmax

import rsam_app
from rsam_app.config import EvaluateConfig, ModelConfig, Pipeline
from rsam_app.model import build_model, load_model, save_model
from rsam_app.model.known_classes import KnownClasses
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.run.predictions import SCHEMA, SURE, read_embeddings
from rsam_app.system.files import fingerprint
from rsam_app.system.progress import Reporter
from rsam_app.system.versions import CALIBRATION, METRICS
from rsam_app.training.warm_start import fit_classifier
from rsam_app.workflow import stages
from rsam_app.workflow.predict import predict
from rsam_app.workflow.stage_inputs import calibrate_inputs, evaluate_inputs, predict_inputs

SPLITS = ("train", "val", "test", "unlabelled")


def job_of(folder: Path) -> Job:
    config = ModelConfig(backbone="test_resnet", weights="none", image_size=32)
    evaluate = EvaluateConfig(stability_views=0)
    pipeline = Pipeline(name="birds", dataset=str(folder / "birds.yaml"), model=config, evaluate=evaluate)
    job = Job(pipeline, RunFolder(folder / "run"), Reporter())
    job.reporter.console = Console(file=io.StringIO(), width=500)
    return job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Bright and dark noise, in every split, and a run of a model that learned to tell them and is too sure of it."""
    for split in SPLITS:
        for label in "ab" if split != "unlabelled" else "-":
            folder = tmp_path / ("more" if label == "-" else f"photos/{split}/{label}")
            folder.mkdir(parents=True)
            for n in range(12):
                draws = np.random.default_rng((SPLITS.index(split), ord(label), n))
                bright = draws.normal(140 if label == "a" else 115, 30)  # the classes overlap
                pixels = draws.normal(bright, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{n}.png")
    card = {"name": "birds", "layout": "folder", "root": str(tmp_path / "photos"), "unlabelled": str(tmp_path / "more")}
    (tmp_path / "birds.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    made = job_of(tmp_path)
    made.run.save_pipeline(made.pipeline)
    torch.manual_seed(0)
    model = build_model(made.pipeline.model, made.original.classes)
    save_model(model, made.run.model)
    predict(made, ["train"])
    points = read_embeddings(made.run.predictions, ["train"]).astype(np.float32)
    labels = [made.original.class_index[label] for label in table(made, "train")["label"].to_pylist()]
    head = model.get_classifier()
    fit_classifier(head, torch.from_numpy(points), torch.tensor(labels))
    with torch.no_grad():
        head.weight.mul_(10)
        head.bias.mul_(10)
    save_model(model, made.run.model)
    made.reporter.console = Console(file=io.StringIO(), width=500)
    return made


def said(job: Job) -> str:
    return job.reporter.console.file.getvalue()


def table(job: Job, split: str):
    return pq.read_table(job.run.predictions / f"{split}.parquet")


def test_the_temperature_is_the_validation_images_and_its_confidence_is_in_every_split(job: Job) -> None:
    predict(job, list(SPLITS))
    rows = table(job, "val")
    logits = np.array(rows["logits"].to_pylist())
    right = np.array([{"a": 0, "b": 1}[label] for label in rows["label"].to_pylist()])
    true = logits[np.arange(len(logits)), right]

    def slope(beta: float) -> float:  # of the likelihood in 1/T: 0 at the best temperature
        return float((true - (softmax(beta * logits, axis=1) * logits).sum(axis=1)).mean())

    temperature = load_model(job.run.model).temperature
    assert temperature == pytest.approx(1 / brentq(slope, 1 / 20, 1 / 0.05), rel=1e-3)
    assert f"temperature {temperature:.3f}, fitted to 24 val images" in said(job)
    for split in SPLITS:
        rows = table(job, split)
        assert rows.schema.names[: len(SCHEMA)] == SCHEMA.names
        logits = np.array(rows["logits"].to_pylist())
        plain, calibrated = (softmax(logits / t, axis=1).max(axis=1) for t in (1, temperature))
        np.testing.assert_allclose(rows["confidence"].to_numpy(), plain, rtol=1e-5)
        np.testing.assert_allclose(rows["calibrated_confidence"].to_numpy(), calibrated, rtol=1e-5)
        assert len(read_embeddings(job.run.predictions, [split])) == rows.num_rows


def test_nothing_is_written_again_for_the_same_predictions(job: Job, tmp_path: Path) -> None:
    predict(job, list(SPLITS))
    files = [*job.run.predictions.iterdir(), *job.run.model.iterdir()]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = job_of(tmp_path)
    predict(again, [])
    assert "temperature" not in said(again)
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_predictions_that_are_written_again_keep_the_columns(job: Job, tmp_path: Path) -> None:
    predict(job, list(SPLITS))
    predict(job_of(tmp_path), ["test"])
    assert {"calibrated_confidence", "unknown"} <= set(table(job, "test").schema.names)


def test_predictions_of_an_earlier_version_get_the_column_without_predicting_again(job: Job, tmp_path: Path) -> None:
    predict(job, list(SPLITS))
    content = job.run.read_json()
    del content["stages"]["calibrate"]
    (job.run.path / "run.json").write_text(json.dumps(content), encoding="utf-8")
    path = job.run.predictions / "test.parquet"
    pq.write_table(table(job, "test").drop_columns(["calibrated_confidence"]), path)
    again = job_of(tmp_path)
    metrics = stages.evaluate(again, "test")
    assert "predicting" not in said(again) and "calibrated_confidence" in table(again, "test").schema.names
    assert metrics["calibration"]["temperature"] == pytest.approx(load_model(job.run.model).temperature, rel=1e-6)


def test_a_split_that_is_predicted_alone_gets_it_once_val_is_predicted(job: Job) -> None:
    predict(job, ["test"])
    assert "no temperature: val is not predicted; `rsam predict" in said(job)
    assert "calibrated_confidence" not in table(job, "test").schema.names
    predict(job, ["val"])
    assert "calibrated_confidence" in table(job, "test").schema.names


def test_another_second_look_than_the_trained_one_changes_no_temperature(job: Job) -> None:
    predict(job, list(SPLITS))
    temperature = load_model(job.run.model).temperature
    look = job.pipeline.model.model_copy(update={"second_look": False})
    job.pipeline = job.pipeline.model_copy(update={"model": look})
    predict(job, list(SPLITS))
    assert "not calibrated: model.second_look" in said(job)
    assert load_model(job.run.model).temperature == temperature


def test_new_images_get_the_share_of_validation_images_that_look_more_known(job: Job) -> None:
    predict(job, ["test"])
    assert "no unknown: train and val not predicted" in said(job)
    predict(job, list(SPLITS))
    known = KnownClasses.load(job.run.known_classes)
    assert known.means.shape[0] == 2 and len(known.ranks) == 24
    assert "unknown" not in table(job, "train").schema.names
    for split in ("val", "test", "unlabelled"):
        scores = table(job, split)["unknown"].to_numpy()
        logits = np.array(table(job, split)["logits"].to_pylist())
        expected = known.unknown_score(read_embeddings(job.run.predictions, [split]), logits)
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
    ranks = np.sort(table(job, "val")["unknown"].to_numpy())
    np.testing.assert_allclose(ranks, np.arange(24) / 24, atol=3 / 24)  # among themselves, some of them equal
    assert timm.create_model(f"local-dir:{job.run.model}").num_classes == 2  # the file beside the weights is no weights


def with_taxonomy(folder: Path, rows: str, name: str = "kinds.csv") -> Job:
    """The job once its card names this taxonomy, beside the card."""
    (folder / name).write_text(rows, encoding="utf-8")
    path = folder / "birds.yaml"
    card = yaml.safe_load(path.read_text(encoding="utf-8")) | {"taxonomy": name}
    path.write_text(yaml.safe_dump(card), encoding="utf-8")
    return job_of(folder)


def test_unsure_answers_are_rolled_up_without_the_dataset(job: Job, tmp_path: Path) -> None:
    predict(job, list(SPLITS))
    plain = {stage: job.run.finished_stages[stage]["inputs"] for stage in ("predict test", "calibrate")}
    assert "roll_up" not in config_of(job)
    named = with_taxonomy(tmp_path, "class,noise\na,grey\nb,grey\n")
    metrics = stages.evaluate(named, "test")
    assert "predicting" not in said(named)
    rolled = metrics["taxonomy"]["roll_up"]
    assert [level["level"] for level in rolled["levels"]] == ["class", "noise"]
    assert rolled["share"] == 1 and all(0 < level["share"] < 1 for level in rolled["levels"])
    assert f"answers are sure from a probability of {rolled['threshold']:.3f}, at which 95 %" in said(named)
    assert load_model(job.run.model).roll_up.threshold == rolled["threshold"]

    photographs = [row["path"] for row in table(job, "test").to_pylist()]
    moved = tmp_path / "elsewhere"
    shutil.copytree(job.run.model, moved / "model")
    for name in ("birds.yaml", "kinds.csv"):
        (tmp_path / name).unlink()
    answers = rsam_app.load(moved / "model").predict(photographs)
    levels = [answer.sure.level for answer in answers]
    assert [levels.count(level["level"]) for level in rolled["levels"]] == [level["n"] for level in rolled["levels"]]
    for answer in answers:
        level, name, probability = answer.sure
        assert probability >= rolled["threshold"]
        is_class = level == "class"
        assert name == (answer.label if is_class else "grey")
        assert probability == pytest.approx(answer.probability if is_class else 1)
    expected = [(answer.sure.name, answer.sure.level, pytest.approx(answer.sure.probability)) for answer in answers]
    assert rows_of(moved / "model", photographs) == expected
    assert list(zip(*table(job, "test").select(SURE.names).to_pydict().values(), strict=True)) == expected
    assert set(SURE.names) <= set(table(job, "train").schema.names)
    assert plain["predict test"] == named.run.finished_stages["predict test"]["inputs"]
    assert plain["calibrate"] != named.run.finished_stages["calibrate"]["inputs"]


def rows_of(model: Path, photographs: list[str]) -> list[tuple[object, ...]]:
    lines = rsam("predict", model, *photographs, "--json").stdout.splitlines()
    return [tuple(json.loads(line)[name] for name in ("sure", "sure_level", "sure_probability")) for line in lines]


def config_of(job: Job) -> dict[str, object]:
    return json.loads((job.run.model / "config.json").read_text(encoding="utf-8"))["pretrained_cfg"]


def test_another_taxonomy_or_none_replaces_what_the_model_has(job: Job, tmp_path: Path) -> None:
    named = with_taxonomy(tmp_path, "class,noise\na,grey\nb,grey\n")
    predict(named, list(SPLITS))
    first = config_of(job)["roll_up"]
    assert first["accuracy"] == 0.95
    before = evaluate_inputs(named, "test")
    same = with_taxonomy(tmp_path, "class,noise\nb,grey\na,grey\nc,red\n", "more.csv")  # of the same content
    assert evaluate_inputs(same, "test") == before
    stages.evaluate(same, "test")
    assert "sure from" not in said(same)
    assert set(SURE.names) <= set(table(job, "test").schema.names)
    other = with_taxonomy(tmp_path, "class,noise\na,light\nb,dark\n")
    assert evaluate_inputs(other, "test") != before
    metrics = stages.evaluate(other, "test")
    assert config_of(job).get("roll_up") != first
    assert "mistakes" in json.dumps(metrics["taxonomy"])
    card = yaml.safe_load((tmp_path / "birds.yaml").read_text(encoding="utf-8"))
    del card["taxonomy"]
    (tmp_path / "birds.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    without = job_of(tmp_path)
    assert "taxonomy" not in stages.evaluate(without, "test")
    assert "roll_up" not in config_of(job)
    assert not set(SURE.names) & set(table(job, "test").schema.names)


def test_without_a_taxonomy_fingerprints_are_those_of_earlier_versions(job: Job) -> None:
    predict(job, list(SPLITS))
    of_split = {split: predict_inputs(job, split) for split in SPLITS}
    assert evaluate_inputs(job, "test") == fingerprint(of_split["test"], "evaluate", METRICS)
    assert calibrate_inputs(job) == fingerprint(CALIBRATION, of_split)


def test_a_roll_up_of_an_unpredicted_val_split_is_kept_only_for_its_taxonomy(job: Job, tmp_path: Path) -> None:
    named = with_taxonomy(tmp_path, "class,noise\na,grey\nb,grey\n")
    predict(named, ["test"])
    assert "unsure answers are not rolled up: val is not predicted" in said(named)
    predict(named, ["val"])
    fitted = config_of(job)["roll_up"]
    Image.new("RGB", (32, 32)).save(tmp_path / "photos" / "val" / "a" / "new.png")  # val is to be predicted again
    again = job_of(tmp_path)
    predict(again, ["test"])
    assert config_of(job)["roll_up"] == fitted
    other = with_taxonomy(tmp_path, "class,tone\na,grey\nb,grey\n")
    predict(other, ["test"])
    assert "roll_up" not in config_of(job)
