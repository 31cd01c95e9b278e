from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.model.roll_up import Sure
from rsam_app.run.predictions import (
    SCHEMA,
    embeddings_path,
    read_columns,
    read_embeddings,
    read_predictions,
    replace_columns,
    score_names,
    sure_columns,
    write_predictions,
)
from rsam_app.system.errors import UserError


def rows(*ids: str, split: str = "test", attention: bool = True, **scores: list[float]) -> pa.Table:
    """A table in no order: doubles, scores first, columns in reverse."""
    n = len(ids)
    texts = {"id": list(ids), "path": list(ids), "split": [split] * n, "label": ["auk"] * n, "predicted": ["wren"] * n}
    numbers = {"confidence": [0.5] * n, "margin": [0.1] * n, "entropy": [0.6] * n, "logits": [[0.0, 1.5]] * n}
    places = {name: [1.0 if attention else None] * n for name in RECTANGLE_FIELDS}
    shapes = {"corners": [[0.5] * 8 if attention else None] * n, "box": [[0.5] * 4 if attention else None] * n}
    return pa.table(dict(reversed({**texts, **numbers, **places, **shapes, **scores}.items())))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lr=0.1" / "Lauf ü" / "predictions"


def test_a_written_table_has_the_fixed_types_and_scores_last(folder) -> None:
    write_predictions(folder / "test.parquet", rows("ä/1.jpg", "b", misattention=[0.25, 1.0]))
    table = read_predictions(folder)
    assert table.schema.names == [*SCHEMA.names, "misattention"]
    assert table.schema.field("misattention").type == pa.float32()
    assert [table.schema.field(f.name).type for f in SCHEMA] == [f.type for f in SCHEMA]
    assert table.column("id").to_pylist() == ["ä/1.jpg", "b"]
    assert table.column("logits").to_pylist() == [[0.0, 1.5]] * 2
    assert score_names(table) == ["misattention"]


def test_columns_are_added_replaced_and_removed(folder) -> None:
    path = folder / "test.parquet"
    write_predictions(path, rows("a", "b"), np.ones((2, 3)))
    sure = sure_columns([Sure("family", "auks", 0.75), None])
    replace_columns(path, {"unknown": np.array([0.5, np.nan]), **sure})
    table = read_predictions(folder)
    assert table.column("unknown").to_pylist() == [0.5, None] and score_names(table) == ["unknown"]
    assert [table.column(name).to_pylist() for name in ("sure", "sure_level", "sure_probability")] == [
        ["auks", None],
        ["family", None],
        [0.75, None],
    ]
    replace_columns(path, {"unknown": np.array([0.25, 1.0]), **dict.fromkeys(sure)})
    table = read_predictions(folder)
    assert table.schema.names == [*SCHEMA.names, "unknown"] and table.column("unknown").to_pylist() == [0.25, 1.0]
    assert len(read_embeddings(folder)) == 2


def test_a_model_without_attention_has_nulls_and_mixes_with_one_that_has_it(folder) -> None:
    write_predictions(folder / "test.parquet", rows("a", attention=False))
    write_predictions(folder / "train.parquet", rows("b", split="train", stability=[0.5]))
    table = read_predictions(folder)
    assert table.column("cx").to_pylist() == [None, 1.0]
    assert table.column("corners").to_pylist()[0] is None
    assert table.column("stability").to_pylist() == [None, 0.5]


def test_splits_can_be_chosen_and_a_missing_one_is_named(folder) -> None:
    write_predictions(folder / "test.parquet", rows("a"), np.zeros((1, 3)))
    assert read_predictions(folder, ["test"]).num_rows == 1
    for read in (read_predictions, read_embeddings):
        for splits in (["train"], ["test", "train"], []):
            with pytest.raises(UserError, match=r"have: test(.|\n)*rsam predict"):
                read(folder, splits)
        with pytest.raises(UserError, match="have: none"):
            read(folder / "nowhere")


def test_embeddings_are_in_row_order(folder) -> None:
    write_predictions(folder / "train.parquet", rows("c", split="train"), np.full((1, 3), 3.0))
    write_predictions(folder / "test.parquet", rows("a", "b"), np.arange(6.0).reshape(2, 3))
    found = read_embeddings(folder)
    assert found.dtype == np.float16
    assert found.tolist() == [[0, 1, 2], [3, 4, 5], [3, 3, 3]]
    assert read_predictions(folder).column("id").to_pylist() == ["a", "b", "c"]
    assert read_embeddings(folder, ["train"]).tolist() == [[3, 3, 3]]
    assert sorted(p.name for p in folder.iterdir()) == [
        "test.embeddings.npy",
        "test.parquet",
        "train.embeddings.npy",
        "train.parquet",
    ]


def test_old_embeddings_do_not_stay_beside_a_new_table(folder) -> None:
    path = folder / "test.parquet"
    write_predictions(path, rows("a", "b"), np.zeros((2, 3)))
    write_predictions(path, rows("b", "a"))
    with pytest.raises(UserError, match="no embeddings"):
        read_embeddings(folder)


def test_a_table_that_cannot_be_written_leaves_the_old_one(folder) -> None:
    path = folder / "test.parquet"
    write_predictions(path, rows("a"), np.ones((1, 3)))
    for table, embeddings in [
        (rows("b").drop_columns(["logits"]), None),
        (rows("b", "b"), None),
        (rows("b", "c"), np.ones((1, 3))),
        (rows("b"), np.ones(3)),
    ]:
        with pytest.raises(ValueError, match="predictions"):
            write_predictions(path, table, embeddings)
    with pytest.raises(pa.ArrowInvalid):
        write_predictions(path, rows("b", note=["no number"]))
    assert read_predictions(folder).column("id").to_pylist() == ["a"]
    assert read_embeddings(folder).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_a_damaged_table_is_named(folder, content) -> None:
    folder.mkdir(parents=True)
    (folder / "test.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"test\.parquet: is damaged"):
        read_predictions(folder)


def test_damaged_or_foreign_embeddings_are_named(folder) -> None:
    path = folder / "test.parquet"
    write_predictions(path, rows("a"), np.ones((1, 3)))
    np.save(embeddings_path(path), np.ones((2, 3)))
    with pytest.raises(UserError, match="another number of rows"):
        read_embeddings(folder)
    stream = io.BytesIO()
    np.save(stream, np.array([{"an": "object"}]), allow_pickle=True)  # what could execute code
    for content in (b"", b"junk", embeddings_path(path).read_bytes()[:-1], stream.getvalue()):
        embeddings_path(path).write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            read_embeddings(folder)


def test_a_table_may_be_empty(folder) -> None:
    write_predictions(folder / "val.parquet", rows(), np.zeros((0, 3)))
    assert read_predictions(folder).num_rows == 0
    assert read_embeddings(folder).shape == (0, 3)


def test_some_columns_are_read_without_the_others(folder) -> None:
    write_predictions(folder / "train.parquet", rows("a.jpg", "b.jpg", misattention=[0.25, 1.0]))
    write_predictions(folder / "test.parquet", rows("c.jpg"))
    table = read_columns(folder, ["id", "misattention", "nowhere"])
    assert table.column_names == ["id", "misattention"]
    assert table.column("id").to_pylist() == read_predictions(folder).column("id").to_pylist()
    assert sorted(table.column("misattention").to_pylist(), key=str) == [0.25, 1.0, None]
    (folder / "test.parquet").write_bytes(b"junk")
    with pytest.raises(UserError, match="is damaged"):
        read_columns(folder, ["id"])
