"""A selection on disk: queue, manifest and replay; rounds do not overwrite each other."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import read_predictions, write_predictions
from rsam_app.selection import STRATEGIES, load_pool, replay, select
from rsam_app.system.errors import UserError

MakeRun = Callable[..., RunFolder]
IDS = [f"vögel/{'été ' * (i % 3)}{i:03}, a.jpg" for i in range(40)]


@pytest.fixture
def run(make_run: MakeRun, random_logits: np.ndarray) -> RunFolder:
    """A run with a labelled training split of 40 records with awkward names."""
    rng = np.random.default_rng(1)
    labels = [("wren", "wryneck", "zilpzalp", "Grünfink")[c] for c in rng.integers(0, 4, 40)]
    return make_run(random_logits, labels, ids=IDS, misattention=rng.random(40), embeddings=rng.normal(size=(40, 6)))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_queue_lists_the_ids_best_first_with_reasons(run: RunFolder, strategy: str) -> None:
    made = select(run, strategy, 8, "train", seed=0)
    rows = rows_of(made.csv)
    assert made.csv.parent == run.selection
    assert list(rows[0])[:7] == ["rank", "id", "path", "split", "label", "predicted", "score"]
    assert list(rows[0])[-4:] == ["misattention", "suggested", "suggested_probability", "reason"]
    assert [r["id"] for r in rows] == list(made.ids)
    assert [int(r["rank"]) for r in rows] == list(range(1, 9))
    assert all(r["reason"] and r["path"] == f"photographs/{r['id']}" for r in rows)
    written = [float(r["score"]) for r in rows]
    assert written == pytest.approx(list(made.scores), rel=1e-5)
    if strategy not in ("typiclust", "badge"):  # ordered by cluster, or by draw
        assert written == sorted(written, reverse=True)


def test_the_manifest_records_how_the_selection_was_made(run: RunFolder) -> None:
    run.model.mkdir()
    (run.model / "model.safetensors").write_bytes(b"weights")
    made = select(run, "k_center", 5, "train", seed=7, exclude={IDS[0], "not in the pool"})
    kept = json.loads(made.manifest.read_text(encoding="utf-8"))
    assert made.manifest.stem == made.csv.stem
    assert (kept["strategy"], kept["budget"], kept["split"], kept["seed"]) == ("k_center", 5, "train", 7)
    assert kept["ids"] == list(made.ids)
    assert kept["pool"] == {"records": 39, "fingerprint": made.fingerprint}
    assert kept["model_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert kept["excluded"] == [IDS[0]]
    assert IDS[0] not in made.ids
    assert all(math.isfinite(s) for s in kept["scores"]), "the excluded record is covered, so no start is drawn"
    assert "1 records were left out" in made.notes[0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_replaying_gives_the_same_ids_and_the_same_bytes(run: RunFolder, strategy: str) -> None:
    made = select(run, strategy, 9, "train", seed=3, exclude=set(IDS[:4]))
    before = made.csv.read_bytes(), made.manifest.read_bytes()
    assert replay(run, made.manifest) == made
    assert (made.csv.read_bytes(), made.manifest.read_bytes()) == before
    assert {p.suffix for p in run.selection.iterdir()} == {".csv", ".json"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_order_of_the_table_does_not_matter(run: RunFolder, strategy: str) -> None:
    made = select(run, strategy, 9, "train", seed=3)
    order = np.random.default_rng(0).permutation(40)
    path = run.predictions / "train.parquet"
    vectors = np.load(run.predictions / "train.embeddings.npy")
    write_predictions(path, read_predictions(run.predictions).take(pa.array(order)), vectors[order])
    assert select(run, strategy, 9, "train", seed=3) == made


def test_a_later_round_keeps_the_earlier_one_and_refuses_its_replay(run: RunFolder, make_run: MakeRun) -> None:
    first = select(run, "margin", 5, "train", seed=0)
    make_run(np.random.default_rng(9).normal(size=(40, 4)), ["wren"] * 40, ids=IDS)
    second = select(run, "margin", 5, "train", seed=0)
    assert first.csv != second.csv and first.csv.exists() and second.csv.exists()
    with pytest.raises(UserError, match="have changed since this selection was made"):
        replay(run, first.manifest)


def test_a_manifest_of_a_strategy_that_has_changed_is_refused_and_kept(run: RunFolder) -> None:
    made = select(run, "margin", 5, "train", seed=0)
    kept = json.loads(made.manifest.read_text())
    kept["ids"][0] = next(record_id for record_id in IDS if record_id not in made.ids)
    made.manifest.write_text(json.dumps(kept))
    before = made.csv.read_bytes(), made.manifest.read_bytes()
    with pytest.raises(UserError, match="1 of the 5 records in the manifest would not be chosen now"):
        replay(run, made.manifest)
    assert (made.csv.read_bytes(), made.manifest.read_bytes()) == before


def test_all_splits_together(run: RunFolder, make_run: MakeRun) -> None:
    test_ids = ["t/1.jpg", "t/0.jpg"]
    vectors = np.zeros((2, 6))
    make_run(np.eye(2, 4), ["wren", None], ids=test_ids, split="test", misattention=[0.1, 0.2], embeddings=vectors)
    pool = load_pool(run, "all", embeddings=True)
    assert set(pool.ids) == {*IDS, *test_ids} and list(pool.ids) == sorted(pool.ids)
    assert pool.splits[pool.ids.index("t/0.jpg")] == "test"
    assert (pool.embeddings[pool.ids.index("t/0.jpg")] == 0).all()
    assert len(select(run, "auto", 100, "all", seed=0).ids) == 42


def test_class_names_come_from_the_model(run: RunFolder) -> None:
    assert set(load_pool(run, "train").classes) == {"wren", "wryneck", "zilpzalp", "Grünfink"}
    run.model.mkdir()
    names = ["a", "b", "c", "d"]
    (run.model / "config.json").write_text(json.dumps({"label_names": names}))
    assert load_pool(run, "train").classes == tuple(names)


def test_contradicting_predictions_are_refused(run: RunFolder, make_run: MakeRun) -> None:
    make_run(np.eye(1, 4), ["wren"], ids=[IDS[0]], split="val")
    with pytest.raises(UserError, match="predictions of more than one split"):
        load_pool(run, "all")
    make_run(np.eye(1, 3), ["wren"], ids=["other.jpg"], split="val")
    with pytest.raises(UserError, match="different numbers of classes"):
        load_pool(run, "all")
    np.save(run.predictions / "train.embeddings.npy", np.zeros((3, 6)))
    with pytest.raises(UserError, match="another number of rows"):
        load_pool(run, "train", embeddings=True)


def test_missing_predictions_and_embeddings_are_reported(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no predictions for val"):
        select(run, "margin", 5, "val", seed=0)
    with pytest.raises(UserError, match="the pool is empty"):
        select(run, "margin", 5, "train", seed=0, exclude=set(IDS))
    (run.predictions / "train.embeddings.npy").unlink()
    with pytest.raises(UserError, match="no embeddings"):
        select(run, "k_center", 5, "train", seed=0)
    for text in ("{", "[]", "{}"):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(UserError, match="not a selection's manifest"):
            replay(run, tmp_path / "m.json")
    assert not run.selection.exists()


def test_an_empty_predictions_table_is_an_empty_pool(make_run: MakeRun) -> None:
    run = make_run(np.zeros((0, 4)), [])
    for strategy in (name for name, found in STRATEGIES.items() if not found.needs_embeddings and name != "auto"):
        with pytest.raises(UserError, match="the pool is empty"):
            select(run, strategy, 5, "train", seed=0)


def test_the_queue_suggests_the_most_probable_label(run: RunFolder, random_logits: np.ndarray) -> None:
    made = select(run, "margin", 40, "train", seed=0)
    names = ("wren", "wryneck", "zilpzalp", "Grünfink")
    for row in rows_of(made.csv):
        logits = random_logits[IDS.index(row["id"])]
        if row["label"] == names[logits.argmax()]:
            assert row["suggested"] == row["suggested_probability"] == ""
        else:
            assert row["suggested"] == row["predicted"] == names[logits.argmax()]
            assert float(row["suggested_probability"]) == pytest.approx(float(row["confidence"]), rel=1e-4)


def test_the_belief_during_training_outweighs_a_model_that_agrees_with_its_labels(make_run: MakeRun) -> None:
    """The model memorised the wrong label of the second image; held out, another class is more probable."""
    learned_by_heart = np.eye(4)[[0, 0, 1]] * 9
    run = make_run(learned_by_heart, ["wren", "wren", "wryneck"], ids=["c", "b", "a"], label_quality=[0.9, 0.1, 0.9])
    held_out = np.array([[0.9, 0.1, 0, 0], [0.05, 0.15, 0.8, 0], [0, 1, 0, 0]], dtype=np.float32)
    np.save(run.held_out_probabilities, held_out)
    (run.model).mkdir()
    (run.model / "config.json").write_text(json.dumps({"label_names": ["wren", "wryneck", "zilpzalp", "Grünfink"]}))
    rows = {row["id"]: row for row in rows_of(select(run, "suspect_label", 3, "train", seed=0).csv)}
    assert (rows["b"]["suggested"], float(rows["b"]["suggested_probability"])) == ("zilpzalp", pytest.approx(0.8))
    assert rows["b"]["reason"] == "labelled wren, probability 5%; the model says zilpzalp, 80%"
    assert rows["a"]["suggested"] == rows["c"]["suggested"] == ""
    np.save(run.held_out_probabilities, held_out[:2])  # of another training split
    assert not any(row["suggested"] for row in rows_of(select(run, "suspect_label", 3, "train", seed=0).csv))
