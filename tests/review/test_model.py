"""A run's model on other FiftyOne datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rsam_app.config import ModelConfig, Pipeline, TrainConfig
from rsam_app.data.records import Dataset, Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.inference.run_model import Outputs, run_model
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.model import build_model, save_model
from rsam_app.model import load_model as load
from rsam_app.review import load_model
from rsam_app.review.writing.documents import attention_document
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

CLASSES = ("Ärger Finch", "blue tit", "crow")
SIDE = 96


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with a small model, its weights away from their initial values."""
    torch.manual_seed(0)
    config = ModelConfig(backbone="test_resnet", weights="none", image_size=SIDE)
    model = build_model(config, CLASSES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    made = RunFolder(tmp_path_factory.mktemp("runs") / "run one")
    made.save_pipeline(Pipeline(name="tiny", dataset="none", model=config, train=TrainConfig(precision="float32")))
    save_model(model, made.model)
    return made


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """Seven photographs of different sizes; one is rotated by its EXIF orientation, one is grey."""
    folder, rng = tmp_path_factory.mktemp("Bilder – größe"), np.random.default_rng(0)
    made = []
    for i in range(7):
        width, height = (int(v) for v in rng.integers(100, 400, 2))
        pixels = rng.integers(0, 255, (height // 20 + 1, width // 20 + 1, 3)).astype(np.uint8)
        image, exif = Image.fromarray(pixels).resize((width, height)), Image.Exif()
        if i == 2:
            exif[0x0112], (width, height) = 6, (height, width)
        path = folder / f"Bild {i}.jpg"
        (image.convert("L") if i == 4 else image).save(path, exif=exif)
        made.append(Record(path.name, path, CLASSES[i % 3], "test", width, height))
    return tuple(made)


@pytest.fixture(scope="module")
def predicted(run: RunFolder, records: tuple[Record, ...]) -> Outputs:
    """What `rsam predict` computes for them."""
    return run_model(ModelRunner(load(run.model), torch.device("cpu"), batch_size=3), records)


@pytest.fixture
def users_dataset(records: tuple[Record, ...], fiftyone_module: ModuleType) -> Iterator[Any]:
    """A dataset that RSAM did not create."""
    dataset = fiftyone_module.Dataset()
    dataset.add_samples([fiftyone_module.Sample(filepath=str(r.path)) for r in records], progress=False)
    yield dataset
    dataset.delete()


def test_its_results_are_those_of_predict(
    run: RunFolder, users_dataset: Any, records: tuple[Record, ...], predicted: Outputs
) -> None:
    users_dataset.apply_model(load_model(run.path, rectangles=True), label_field="x", batch_size=3, num_workers=0)
    known = Dataset("tiny", records, CLASSES, "CC0")
    from rsam_app.evaluation.inference.predictions_table import predictions_table

    made = predictions_table(predicted, records, known)
    table = (made[0] if isinstance(made, tuple) else made).to_pylist()
    for sample, row in zip(users_dataset, table, strict=True):
        assert sample.x_prediction.label == row["predicted"]
        assert sample.x_prediction.confidence == pytest.approx(row["confidence"], abs=1e-5)
        np.testing.assert_allclose(sample.x_prediction.logits, row["logits"], atol=1e-4)
        five = [row[name] for name in RECTANGLE_FIELDS]
        expected = attention_document(row["predicted"], row["confidence"], row["box"], five)["detections"][0]
        found = sample.x_attention.detections[0]
        assert found.bounding_box == pytest.approx(expected["bounding_box"], abs=1e-4)
        for name in ("cx", "cy", "width", "height"):
            assert found[name] == pytest.approx(expected[name], abs=0.05)
        points = [value for point in sample.x_rectangle.polylines[0].points[0] for value in point]
        assert points == pytest.approx(row["corners"], abs=1e-3)


def test_without_rectangles_it_is_a_classifier(run: RunFolder, users_dataset: Any, predicted: Outputs) -> None:
    users_dataset.apply_model(load_model(str(run.path)), label_field="bird", num_workers=0)
    assert users_dataset.get_field_schema()["bird"].document_type.__name__ == "Classification"
    assert users_dataset.values("bird.label") == [CLASSES[i] for i in predicted.logits.argmax(axis=1)]
    np.testing.assert_allclose(np.stack(users_dataset.values("bird.logits")), predicted.logits, atol=1e-4)


def test_its_embeddings_are_the_runs(run: RunFolder, users_dataset: Any, predicted: Outputs) -> None:
    found = users_dataset.compute_embeddings(load_model(run.path), batch_size=4, num_workers=0)
    np.testing.assert_allclose(found, predicted.embeddings, atol=1e-4)


def test_loading_processes_read_the_same(run: RunFolder, users_dataset: Any, predicted: Outputs) -> None:
    found = users_dataset.compute_embeddings(load_model(run.path), batch_size=4, num_workers=1)
    np.testing.assert_allclose(found, predicted.embeddings, atol=1e-4)


def test_an_unreadable_file_is_left_out(
    run: RunFolder, users_dataset: Any, fiftyone_module: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "junk.jpg").write_bytes(b"junk")
    users_dataset.add_sample(fiftyone_module.Sample(filepath=str(tmp_path / "junk.jpg")))
    users_dataset.apply_model(load_model(run.path), label_field="y", batch_size=1, num_workers=0)
    assert [label is None for label in users_dataset.values("y.label")] == [False] * 7 + [True]
    with pytest.raises(UserError, match=r"junk\.jpg"):
        users_dataset.apply_model(load_model(run.path), label_field="y", num_workers=0, skip_failures=False)


def test_arrays_and_patches(
    run: RunFolder, users_dataset: Any, records: tuple[Record, ...], predicted: Outputs
) -> None:
    import fiftyone as fo

    model = load_model(run.path)
    upright = np.asarray(Image.open(records[0].path))
    assert model.predict(upright).label == CLASSES[int(predicted.logits[0].argmax())]
    np.testing.assert_allclose(model.embed(upright), model.get_embeddings())
    for sample in users_dataset:
        box = fo.Detection(label="all", bounding_box=[0, 0, 1, 1])
        sample["whole"] = fo.Detections(detections=[box, fo.Detection(label="part", bounding_box=[0.2, 0.2, 0.5, 0.5])])
        sample.save()
    found = users_dataset.compute_patch_embeddings(model, "whole", num_workers=0)
    embeddings = [found[i] for i in users_dataset.values("id")]
    assert {e.shape for e in embeddings} == {(2, predicted.embeddings.shape[1])}
    # FiftyOne decodes and crops patches itself, so a few grey values differ.
    whole, known = embeddings[0][0], predicted.embeddings[0]
    assert whole @ known / np.linalg.norm(whole) / np.linalg.norm(known) > 0.99
    assert embeddings[0][1] @ known / np.linalg.norm(embeddings[0][1]) / np.linalg.norm(known) < 0.99


def test_missing_models_and_rectangles_are_reported(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        load_model(tmp_path)
    plain = RunFolder(tmp_path / "plain")
    config = ModelConfig(backbone="test_resnet", weights="none", image_size=SIDE, attention="none")
    plain.save_pipeline(Pipeline(name="plain", dataset="none", model=config))
    with pytest.raises(UserError, match="no trained model"):
        load_model(plain.path)
    save_model(build_model(config, CLASSES), plain.model)
    with pytest.raises(UserError, match="no attention"):
        load_model(plain.path, rectangles=True)
