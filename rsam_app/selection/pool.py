"""The pool: everything a strategy may use, as arrays with one row per record."""

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
    """N records to choose from, sorted by id, each id once.

    A pool, and so a choice from it, does not depend on the order of the predictions table. Missing numbers are NaN,
    missing names are the empty string.
    """

    ids: tuple[str, ...]
    paths: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    predicted: tuple[str, ...]
    classes: tuple[str, ...]
    """Class names of the C columns of `logits`; empty for an unknown name."""
    logits: np.ndarray
    """`(N, C)` float32."""
    confidence: np.ndarray
    """`(N,)` float32, probability of the predicted class."""
    margin: np.ndarray
    """`(N,)` float32, probability of the most probable class minus that of the second."""
    entropy: np.ndarray
    """`(N,)` float32, nats."""
    scores: dict[str, np.ndarray]
    """Score columns of the predictions by name, each `(N,)` float32."""
    rectangles: np.ndarray
    """`(N, 5)` float32: cx, cy, width, height (image pixels), angle (radians)."""
    embeddings: np.ndarray | None = None
    """`(N, D)` float16 or float32; loaded only for strategies that need them."""
    covered: np.ndarray | None = None
    """`(M, D)` embeddings of records that already have a label or were excluded as reviewed."""
    label_counts: np.ndarray | None = None
    """`(C,)` number of labels of each class given so far; None to count those of the pool's own records."""
    training_belief: Belief | None = None
    """Belief about the labels of training images, recorded during training; None to compute it from `probabilities`."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, `(N, C)` float32."""
        shifted = self.logits - self.logits.max(axis=1, keepdims=True, initial=-np.inf)
        exponential = np.exp(shifted)
        total: np.ndarray = exponential.sum(axis=1, keepdims=True)
        return np.asarray(exponential / total)

    @cached_property
    def label_indices(self) -> np.ndarray:
        """Column of each record's label, `(N,)` int64; -1 if the model does not know the label."""
        column = {name: i for i, name in enumerate(self.classes) if name}
        return np.array([column.get(label, -1) for label in self.labels], dtype=np.int64)

    def class_name(self, column: int) -> str:
        """Return the name of a column of `logits`, or its number if the name is unknown."""
        return self.classes[column] or f"class {column}"

    def has_score(self, name: str) -> bool:
        """Return whether the predictions have a finite score of that name for any record."""
        return name in self.scores and bool(np.isfinite(self.scores[name]).any())

    def prediction(self, row: int) -> str:
        """Return a record's predicted class and confidence for a reason, such as `wren (71%)`."""
        return f"{self.predicted[row]} ({self.confidence[row]:.0%})"

    def require_embeddings(self) -> np.ndarray:
        """Return `embeddings`. Raises `ValueError` if they were not loaded."""
        if self.embeddings is None:
            raise ValueError("this strategy or limit needs a pool with embeddings")
        return self.embeddings

    def covered_embeddings(self) -> np.ndarray:
        """Return `covered`, `(0, D)` if there is none. Raises `ValueError` as `require_embeddings` does."""
        return self.require_embeddings()[:0] if self.covered is None else self.covered

    @cached_property
    def belief(self) -> Belief:
        """Belief about each given label, and the most probable class."""
        return self.training_belief or believe(self.probabilities, self.label_indices)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything a strategy may use: pools with equal fingerprints give the same selection."""
        digest = hashlib.sha256(json.dumps([self.ids, self.labels, self.classes, sorted(self.scores)]).encode())
        columns = [self.logits, self.confidence, self.margin, self.entropy]
        for column in [*columns, *(self.scores[name] for name in sorted(self.scores))]:
            digest.update(np.ascontiguousarray(column, dtype="<f4").data)
        for vectors in (self.embeddings, self.covered, self.label_counts):
            if vectors is not None:
                digest.update(np.ascontiguousarray(vectors).data)
        return digest.hexdigest()

    def take(self, rows: np.ndarray) -> Pool:
        """Return the pool of these rows (indices), in this order."""

        def taken(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[i] for i in rows)

        return replace(
            self,
            ids=taken(self.ids),
            paths=taken(self.paths),
            splits=taken(self.splits),
            labels=taken(self.labels),
            predicted=taken(self.predicted),
            logits=self.logits[rows],
            confidence=self.confidence[rows],
            margin=self.margin[rows],
            entropy=self.entropy[rows],
            scores={name: column[rows] for name, column in self.scores.items()},
            rectangles=self.rectangles[rows],
            embeddings=None if self.embeddings is None else self.embeddings[rows],
            training_belief=None if self.training_belief is None else self.training_belief.take(rows),
        )

    def without(self, exclude: Collection[str]) -> Pool:
        """Return the pool without these ids; their embeddings, if loaded, join `covered`."""
        excluded = np.array([record_id in exclude for record_id in self.ids], dtype=bool)
        rest = self.take(np.flatnonzero(~excluded))
        if self.embeddings is None:
            return rest
        return replace(rest, covered=np.concatenate([self.covered_embeddings(), self.embeddings[excluded]]))


def load_pool(run: RunFolder, split: str, *, embeddings: bool = False) -> Pool:
    """Return the pool of one split of a run's predictions, or of all splits (`all`), with embeddings on request.

    Raises `UserError` if the predictions are missing, contradict each other or lack the embeddings.
    """
    splits = None if split == "all" else [split]
    table = read_predictions(run.predictions, splits)
    vectors = read_embeddings(run.predictions, splits) if embeddings else None
    remedy = f"Run `rsam predict {run.path} --split {split}` again."
    ids = table.column("id").to_pylist()
    if len(set(ids)) != len(ids):
        repeated = Counter(ids).most_common(1)[0][0]
        raise UserError(
            f"{run.predictions}: record {repeated!r} is in the predictions of more than one split.\n{remedy}"
        )
    logits = _logits(table)
    if logits is None:
        raise UserError(f"{run.predictions}: the predictions were made with different numbers of classes.\n{remedy}")
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
        pool = replace(pool, training_belief=believe(probabilities, pool.label_indices))
    return pool.take(np.argsort(np.array(ids, dtype=object), kind="stable"))


def pool_of_images(
    ids: Sequence[str], paths: Sequence[str], split: str, embeddings: np.ndarray, covered: np.ndarray
) -> Pool:
    """Return the pool before there is a model: images with `embeddings` `(N, D)` only, and the embeddings of the images
    that already have a label, `covered` `(M, D)`. The `ids` are sorted."""
    blank, unknown = ("",) * len(ids), np.full(len(ids), np.nan, dtype=np.float32)
    return Pool(
        ids=tuple(ids),
        paths=tuple(paths),
        splits=(split,) * len(ids),
        labels=blank,
        predicted=blank,
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


def pool_of_arrays(
    embeddings: np.ndarray | None,
    probabilities: np.ndarray | None,
    labels: Sequence[int] | np.ndarray | None,
    covered: np.ndarray | None,
    misattention: np.ndarray | None,
) -> Pool:
    """Return a pool of N images without names, of `embeddings` `(N, D)`, `probabilities` `(N, C)` and `labels` `(N,)`,
    their columns or -1; `covered` and `misattention` are as in `Pool`. What is None is unknown."""
    known = next(v for v in (embeddings, probabilities, labels, misattention) if v is not None)
    ids = tuple(f"{row:012d}" for row in range(len(known)))
    vectors = np.empty((len(ids), 0), np.float32) if embeddings is None else np.asarray(embeddings)
    nearest = vectors[:0] if covered is None else np.asarray(covered)
    pool = replace(pool_of_images(ids, ids, "given", vectors, nearest), covered=covered)
    if embeddings is None:
        pool = replace(pool, embeddings=None, covered=None)
    if misattention is not None:
        pool = replace(pool, scores={"misattention": np.asarray(misattention, np.float32)})
    if probabilities is None:
        return pool
    shares = np.asarray(probabilities, np.float32)
    classes = tuple(f"class {column}" for column in range(shares.shape[1]))
    ranked = np.sort(shares, axis=1)[:, ::-1]
    logarithms = np.log(np.maximum(shares, np.finfo(np.float32).tiny))
    given = [-1] * len(ids) if labels is None else [int(label) for label in labels]
    return replace(
        pool,
        labels=tuple(classes[label] if label >= 0 else "" for label in given),
        predicted=tuple(classes[column] for column in shares.argmax(axis=1)),
        classes=classes,
        logits=logarithms,
        confidence=ranked[:, 0],
        margin=ranked[:, 0] - (ranked[:, 1] if len(classes) > 1 else 0),
        entropy=-(shares * logarithms).sum(axis=1),
    )


def cover_labelled(pool: Pool, run: RunFolder) -> Pool:
    """Return a pool of images without a label, with the run's labelled images as `covered` and in `label_counts`.

    Labelled images without predictions do not count; `covered` needs a pool with embeddings.
    """
    labelled = [split for split in ("train", "val") if (run.predictions / f"{split}.parquet").exists()]
    if not labelled:
        return pool
    labels = read_columns(run.predictions, ["split", "label"])
    columns = {name: i for i, name in enumerate(pool.classes) if name}
    given = [
        columns[label]
        for split, label in zip(*(labels.column(name).to_pylist() for name in ("split", "label")), strict=True)
        if split in labelled and label in columns
    ]
    counts = np.bincount(np.array(given, dtype=np.int64), minlength=len(pool.classes))
    covered = None if pool.embeddings is None else read_embeddings(run.predictions, labelled)
    return replace(pool, covered=covered, label_counts=counts)


def _names(table: pa.Table, column: str) -> tuple[str, ...]:
    return tuple(value or "" for value in table.column(column).to_pylist())


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    return np.asarray(table.column(column).cast(pa.float32()).to_numpy().astype(np.float32))


def _logits(table: pa.Table) -> np.ndarray | None:
    """`(N, C)` float32, rows without logits NaN; None if the rows differ in length."""
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
    """Return the model's class names; if the run has no model, those that the predictions reveal."""
    names = class_names(run)
    if len(names) == logits.shape[1]:
        return names
    inferred = [""] * logits.shape[1]
    if inferred:
        finite = np.flatnonzero(np.isfinite(logits).all(axis=1))
        columns, first = np.unique(logits[finite].argmax(axis=1), return_index=True)
        for column, row in zip(columns, finite[first], strict=True):
            inferred[column] = predicted[row]
    return tuple(inferred)
