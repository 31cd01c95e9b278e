"""A run's entries in FiftyOne's own panels: evaluations, a similarity index and uniqueness.

They are registered as FiftyOne's evaluation and brain runs, so that its panels find them and it can list and delete
them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from rsam_app.review.analysis.embeddings import principal_components
from rsam_app.review.dataset.guest import field_of, label_path
from rsam_app.selection.embeddings import finite_rows
from rsam_app.system.files import fingerprint

WIDTH = 128
"""Principal components in the similarity index, which the database stores whole."""
LEAST_MAPPED = 16
"""Images from which on there is a map by UMAP, which places each by 15 neighbours."""
MOST_INDEXED = 20_000
"""Images up to which there is an index: beyond it, FiftyOne's exact search takes minutes and the database grows."""


def evaluated_view(review_set: Any, key: str, split: str) -> Any:
    """Return the view of a split's samples with a label and a prediction of the run."""
    from fiftyone import ViewField as F

    label, of = (field_of(review_set, name) for name in ("ground_truth", "split"))
    return review_set.match((F(of) == split) & F(f"{label}.label").exists() & F(f"{key}_prediction").exists())


def evaluation_state(review_set: Any, key: str, split: str, boxes: bool) -> str:
    """Return a fingerprint of what is evaluated: labels, predictions, and which samples have them."""
    names = ["id", label_path(review_set), f"{key}_prediction.label"]
    return fingerprint(split, boxes, list(zip(*evaluated_view(review_set, key, split).values(names), strict=True)))


def write_evaluations(review_set: Any, key: str, split: str, boxes: bool) -> list[str]:
    """Evaluate the run's classes against the labels as `KEY`, and with `boxes` also the upright boxes around its
    rectangles against the true ones as `KEY_boxes` (FiftyOne's COCO matching at IoU .5, whatever the class).

    Returns notes: what was left out, and why. Without labelled samples or true boxes there is no evaluation.
    """
    notes: list[str] = []
    view = evaluated_view(review_set, key, split)
    if not len(view):
        return notes
    groups = review_set.app_config.sidebar_groups
    if review_set.has_sample_field(key) and not review_set.has_evaluation(key):
        notes.append(f"no evaluation in FiftyOne: the dataset has a field {key!r} of its own")
    else:
        _forget_evaluation(review_set, key)
        label = field_of(review_set, "ground_truth")
        view.evaluate_classifications(f"{key}_prediction", label, eval_key=key, progress=False)
    if boxes and review_set.has_sample_field(f"{key}_attention"):
        boxed, name = view.exists("ground_truth_boxes").exists(f"{key}_attention"), f"{key}_boxes"
        _forget_evaluation(review_set, name)
        if len(boxed):
            fields = f"{key}_attention", "ground_truth_boxes"
            boxed.evaluate_detections(*fields, eval_key=name, classwise=False, progress=False)
    review_set.app_config.sidebar_groups = groups  # FiftyOne adds a group of its own
    review_set.save()
    return notes


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    return importlib.util.find_spec("umap") is not None


def write_brain_runs(
    review_set: Any, key: str, samples: Sequence[str], embeddings: np.ndarray, all_panels: bool
) -> list[str]:
    """Index the `(N, D)` embeddings of samples for *sort by similarity* as `KEY_similarity`, and on request
    write FiftyOne's uniqueness as `KEY_uniqueness` and, if umap-learn is installed, its map of them by UMAP (McInnes
    et al. 2018, arXiv 1802.03426) as `KEY_umap`. (Its representativeness, in version 1.22, is the distance from a
    cluster's centre, the wrong way round, and NaN for an image alone in its cluster; it is left out.)

    Returns a note if there are too many images. Rows that are not finite are left out.
    """
    import fiftyone.brain as fob

    names = [f"{key}_{name}" for name in ("similarity", "uniqueness", "umap")]
    for name in names:
        if review_set.has_brain_run(name):
            review_set.delete_brain_run(name)
    rows = finite_rows(embeddings)
    if len(rows) > MOST_INDEXED:
        return [f"no similarity index in FiftyOne: {len(rows):,} images are more than {MOST_INDEXED:,}"]
    if len(rows) < 2:
        return []
    points = principal_components(embeddings, rows, WIDTH)
    view = review_set.select([samples[row] for row in rows.tolist()], ordered=True)
    index = fob.compute_similarity(view, embeddings=points, brain_key=names[0], backend="sklearn", metric="cosine")
    if all_panels:
        fob.compute_uniqueness(view, names[1], embeddings=points, similarity_index=index, progress=False)
    if all_panels and has_umap() and len(rows) >= LEAST_MAPPED:
        options: dict[str, Any] = {"method": "umap", "seed": 0, "verbose": False, "progress": False}
        fob.compute_visualization(view, embeddings=points, brain_key=names[2], **options)
    return []


def _forget_evaluation(review_set: Any, name: str) -> None:
    if review_set.has_evaluation(name):
        review_set.delete_evaluation(name)
