"""Search by text in the App: FiftyOne's similarity index of a model that embeds images and text alike, such as CLIP.

The run's own embeddings cannot be searched by text: its backbone knows no words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsam_app.review.analysis.fiftyone_runs import MOST_INDEXED

ZOO_MODEL = "zero-shot-classification-transformer-torch"
"""FiftyOne's name of any CLIP-like model of transformers. With a name, and not a model, the App loads it again."""


def write_text_index(review_set: Any, key: str, samples: Sequence[str], model: str | None) -> list[str]:
    """Index the images of samples as `KEY_text`, by the features of `model`: a folder that transformers saved, or a
    name on the hub. Without a model, remove the index.

    Returns a note if there is none though a model was given: it cannot be loaded, embeds no text, or there are too many
    images. Every image passes through the model.
    """
    import fiftyone.brain as fob

    name = f"{key}_text"
    if review_set.has_brain_run(name):
        review_set.delete_brain_run(name)
    if model is None:
        return []
    if len(samples) > MOST_INDEXED:
        return [f"no search by text: {len(samples):,} images are more than {MOST_INDEXED:,}"]
    place = str(Path(model).resolve()) if Path(model).exists() else model
    index: dict[str, Any] = {"backend": "sklearn", "metric": "cosine", "model_kwargs": {"name_or_path": place}}
    try:
        found = fob.compute_similarity(
            review_set.select(list(samples)), model=ZOO_MODEL, brain_key=name, progress=False, **index
        )
    except (ImportError, OSError, ValueError) as error:
        return [f"no search by text: review.text_model={model}: {str(error).strip().splitlines()[0]}"]
    if not found.supports_prompts:
        review_set.delete_brain_run(name)
        return [f"no search by text: review.text_model={model}: embeds no text. Name a CLIP or SigLIP model"]
    return []
