"""The pool: everything a strategy may look at, as arrays, one row per record."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from rsam_app.evaluation.scores.label_belief import Belief, believe, with_training_belief
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import class_names, read_columns, read_embeddings, read_predictions, score_names
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Pool:
    """What is known about N records that may be chosen, sorted by id, each id once.

    A pool does not depend on the order of the predictions table, so neither does what is chosen from it. Numbers that
    are missing are NaN, names that are missing are the empty string.
    """

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    predicted: tuple[str, ...]
    classes: tuple[str, ...]
    """Class names of the C columns of `logits`; empty where a name could not be found out."""
    logits: np.ndarray
    """`(N, C)` float32."""
    confidence: np.ndarray
    """`(N,)` float32, probability of the predicted class."""
    margin: np.ndarray
    """`(N,)` float32, probability of the first class minus that of the second."""
    entropy: np.ndarray
    """`(N,)` float32, nats."""
    scores: dict[str, np.ndarray]
    """The score columns of the predictions by name, each `(N,)` float32."""
    rectangles: np.ndarray
    """`(N, 5)` float32: cx, cy, width, height (image pixels), angle (radians)."""
    embeddings: np.ndarray | None = None
    """`(N, D)` float16 or float32; loaded only for strategies that want them."""
    covered: np.ndarray | None = None
    """`(M, D)` embeddings of the records that have a label already, or were left out since a person saw them."""
    label_counts: np.ndarray | None = None
    """`(C,)`: how many labels of each class a person gave already; None: those of the pool's own records."""
    judged: Belief | None = None
    """What was believed about the labels of training images while the run trained; None: what the model says now."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, `(N, C)` float32."""
        shifted = self.logits - self.logits.max(axis=1, keepdims=True, initial=-np.inf)
        exponential = np.exp(shifted)
        total: np.ndarray = exponential.sum(axis=1, keepdims=True)
        return exponential / total

    @cached_property
    def label_indices(self) -> np.ndarray:
        """Column of each record's label, `(N,)` int64; -1 where the model does not know the label."""
        column = {name: i for i, name in enumerate(self.classes) if name}
        return np.array([column.get(label, -1) for label in self.labels], dtype=np.int64)

    def class_name(self, column: int) -> str:
        """Name of a column of `logits`; its number where the name could not be found out."""
        return self.classes[column] or f"class {column}"

    @cached_property
    def belief(self) -> Belief:
        """What is believed about each label, and which is believed instead."""
        return self.judged or believe(self.probabilities, self.label_indices)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all that a strategy may look at: pools with the same one give the same selection."""
        digest = hashlib.sha256(json.dumps([self.ids, self.labels, self.classes, sorted(self.scores)]).encode())
        columns = [self.logits, self.confidence, self.margin, self.entropy]
        for column in [*columns, *(self.scores[name] for name in sorted(self.scores))]:
            digest.update(np.ascontiguousarray(column, dtype="<f4").data)
        for vectors in (self.embeddings, self.covered, self.label_counts):
            if vectors is not None:
                digest.update(np.ascontiguousarray(vectors).data)
        return digest.hexdigest()

    def take(self, rows: np.ndarray) -> Pool:
        """The pool of these rows (indices), in this order."""

        def named(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[i] for i in rows)

        return replace(
            self,
            ids=named(self.ids),
            paths=named(self.paths),
            splits=named(self.splits),
            labels=named(self.labels),
            predicted=named(self.predicted),
            logits=self.logits[rows],
            confidence=self.confidence[rows],
            margin=self.margin[rows],
            entropy=self.entropy[rows],
            scores={name: column[rows] for name, column in self.scores.items()},
            rectangles=self.rectangles[rows],
            embeddings=None if self.embeddings is None else self.embeddings[rows],
            judged=None if self.judged is None else self.judged.take(rows),
        )

    def without(self, exclude: Collection[str]) -> Pool:
        """The pool without these ids; their embeddings, where loaded, become `covered`, with those that were."""
        out = np.array([i in exclude for i in self.ids], dtype=bool)
        kept = self.take(np.flatnonzero(~out))
        if self.embeddings is None:
            return kept
        left = self.embeddings[out]
        return replace(kept, covered=left if self.covered is None else np.concatenate([self.covered, left]))


def load_pool(run: RunFolder, split: str, *, embeddings: bool = False) -> Pool:
    """The pool of one split of a run's predictions, or of all of them (`all`), with embeddings on request.

    Raises `UserError` where the predictions are missing, contradict each other or lack the embeddings.
    """
    splits = None if split == "all" else [split]
    table = read_predictions(run.predictions, splits)
    vectors = read_embeddings(run.predictions, splits) if embeddings else None
    again = f"Run `rsam predict {run.path} --split {split}` again."
    ids = table.column("id").to_pylist()
    if len(set(ids)) != len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise UserError(f"{run.predictions}: record {twice!r} is in the predictions of more than one split.\n{again}")
    logits = _logits(table)
    if logits is None:
        raise UserError(f"{run.predictions}: the predictions were made with different numbers of classes.\n{again}")
    pool = Pool(
        ids=tuple(ids),
        paths=_names(table, "path"),
        splits=_names(table, "split"),
        labels=_names(table, "label"),
        predicted=_names(table, "predicted"),
        classes=_class_names(run, logits, _names(table, "predicted")),
        logits=logits,
        confidence=_numbers(table, "confidence"),
        margin=_numbers(table, "margin"),
        entropy=_numbers(table, "entropy"),
        scores={name: _numbers(table, name) for name in score_names(table)},
        rectangles=np.stack([_numbers(table, name) for name in RECTANGLE_FIELDS], axis=1),
        embeddings=vectors,
    )
    probabilities = with_training_belief(run, pool.ids, pool.splits, pool.probabilities)
    if probabilities is not pool.probabilities:
        pool = replace(pool, judged=believe(probabilities, pool.label_indices))
    return pool.take(np.argsort(np.array(ids, dtype=object), kind="stable"))


def pool_of_images(
    ids: Sequence[str], paths: Sequence[str], split: str, embeddings: np.ndarray, covered: np.ndarray
) -> Pool:
    """The pool before there is any model: images of which nothing is known but `embeddings` `(N, D)`, beside those of
    the images that have a label already, `covered` `(M, D)`. The `ids` are sorted."""
    nothing, unknown = ("",) * len(ids), np.full(len(ids), np.nan, dtype=np.float32)
    return Pool(
        ids=tuple(ids),
        paths=tuple(paths),
        splits=(split,) * len(ids),
        labels=nothing,
        predicted=nothing,
        classes=("",),
        logits=np.full((len(ids), 1), np.nan, dtype=np.float32),
        confidence=unknown,
        margin=unknown,
        entropy=unknown,
        scores={},
        rectangles=np.full((len(ids), 5), np.nan, dtype=np.float32),
        embeddings=embeddings,
        covered=covered,
    )


def beside_labelled(pool: Pool, run: RunFolder) -> Pool:
    """A pool of images without a label, where the run's images with one count as covered and as labels given.

    As far as their predictions are there, and their embeddings where the pool has its own.
    """
    labelled = [split for split in ("train", "val") if (run.predictions / f"{split}.parquet").exists()]
    if not labelled:
        return pool
    labels = read_columns(run.predictions, ["split", "label"])
    number = {name: i for i, name in enumerate(pool.classes) if name}
    given = [
        number[label]
        for split, label in zip(*(labels.column(name).to_pylist() for name in ("split", "label")), strict=True)
        if split in labelled and label in number
    ]
    counts = np.bincount(np.array(given, dtype=np.int64), minlength=len(pool.classes))
    covered = None if pool.embeddings is None else read_embeddings(run.predictions, labelled)
    return replace(pool, covered=covered, label_counts=counts)


def _names(table: pa.Table, column: str) -> tuple[str, ...]:
    return tuple(value or "" for value in table.column(column).to_pylist())


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    return table.column(column).cast(pa.float32()).to_numpy().astype(np.float32)


def _logits(table: pa.Table) -> np.ndarray | None:
    """`(N, C)` float32, rows without logits NaN; None where the rows differ in length."""
    column = table.column("logits").combine_chunks()
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    present = np.isfinite(lengths.astype(np.float64))
    width = int(lengths[present][0]) if present.any() else 0
    if (lengths[present] != width).any():
        return None
    logits = np.full((len(lengths), width), np.nan, dtype=np.float32)
    logits[present] = column.flatten().to_numpy(zero_copy_only=False).reshape(int(present.sum()), width)
    return logits


def _class_names(run: RunFolder, logits: np.ndarray, predicted: tuple[str, ...]) -> tuple[str, ...]:
    """The model's class names; where the run has no model, those that the predictions give away."""
    names = class_names(run)
    if len(names) == logits.shape[1]:
        return names
    found = [""] * logits.shape[1]
    if found:
        finite = np.flatnonzero(np.isfinite(logits).all(axis=1))
        columns, first = np.unique(logits[finite].argmax(axis=1), return_index=True)
        for column, row in zip(columns, finite[first], strict=True):
            found[column] = predicted[row]
    return tuple(found)
