"""The model card of a run: `README.md` beside the saved model, as the hub shows it, from what the run measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rsam_app.config import Card
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.run.trained_on import training_ids
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.files import replace_atomically, write_atomically
from rsam_app.system.markdown import as_code, as_text
from rsam_app.workflow.stage_inputs import evaluate_inputs

PICTURE = "example.jpg"
"""The picture beside the card."""

PICTURE_SIDE = 480
"""Longest side of that picture, pixels."""


def write_model_card(job: Job, name: str, picture: bool = True) -> Path:
    """Write `README.md` for the hub's model `name`, and with `picture` an example, into the run's model folder; returns
    the card's path.

    The example is the correctly classified test image with the highest confidence. Raises `UserError` if this model was
    not evaluated.
    """
    metrics = _metrics(job.run)
    if not job.run.stage_done("evaluate", evaluate_inputs(job, str(metrics["split"]))):
        raise UserError(
            f"{job.run.path}: was evaluated with another model or other data. Run `rsam evaluate {job.run.path}` first."
        )
    try:
        card_text(job, name, metrics, picture=False)  # before anything is written
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        where = job.run.evaluation / "metrics.json"
        raise UserError(
            f"{where}: is damaged ({reason_of(error)}). Run `rsam evaluate {job.run.path}` again."
        ) from error
    example = job.run.model / PICTURE
    example.unlink(missing_ok=True)
    if picture:
        _draw_example(job, str(metrics["split"]), example)
    path = job.run.model / "README.md"
    write_atomically(path, card_text(job, name, metrics, example.is_file()))
    return path


def card_text(job: Job, name: str, metrics: Mapping[str, Any], picture: bool) -> str:
    """The card as Markdown: the hub's metadata, use, data, figures with intervals, and limits."""
    metadata = yaml.safe_dump(
        {
            "library_name": "timm",
            "pipeline_tag": "image-classification",
            "tags": ["image-classification", "timm", "rsam", "fine-grained"],
            "license": "other",
            "license_name": "see-training-data",
        },
        sort_keys=False,
    )
    model = job.pipeline.model
    classes = metrics["n_classes"]
    parts = [
        f"---\n{metadata}---\n# {as_text(job.pipeline.name)}",
        f"A classifier of {classes} classes: {as_code(model.backbone)} at {model.image_size} pixels"
        + (", with a rectangle that says where it looked." if model.attention != "none" else "."),
        *([f"![An image with the rectangle that the model looked at]({PICTURE})"] if picture else []),
        "## Use\n\nInstall RSAM (`rsam-app`), then:\n\n```python\nimport rsam_app as rsam\n\n"
        f'model = rsam.load("hf-hub:{name}")\nanswer = model.predict("photograph.jpg")\n'
        "print(answer.label, answer.probability, answer.rectangle)\n```\n\n"
        f"After `import rsam_app`, `timm.create_model('hf-hub:{name}', pretrained=True)` loads it too.",
        f"## Data\n\n{_data(job.card, job.run)}",
        f"## Figures\n\n{_figures(metrics)}",
        f"## Limits\n\n{_limits(metrics)}",
    ]
    return "\n\n".join(parts) + "\n"


def _data(card: Card, run: RunFolder) -> str:
    if adopted := run.read_json().get("adopted"):
        network = as_code(adopted["network"])
        origin = f"Made from {network}, trained elsewhere; its classes are those of {as_code(card.name)}."
    else:
        origin = f"Trained on {len(training_ids(run.training_records)):,} images of {as_code(card.name)}."
    return f"{origin} License of the data: {as_text(card.licence)}."


def _figures(metrics: Mapping[str, Any]) -> str:
    (low, high), scaled = metrics["top1_interval"], metrics["calibration"].get("ece_scaled")
    rows = [
        ("top-1", f"{metrics['top1']:.3f} (95 % interval {low:.3f} to {high:.3f})"),
        ("top-5", f"{metrics['top5']:.3f}"),
        ("mean over classes of top-1", f"{metrics['macro_top1']:.3f}"),
        ("always the most frequent class", f"{metrics['majority_class_top1']:.3f}"),
        ("expected calibration error, calibrated", f"{metrics['ece'] if scaled is None else scaled:.3f}"),
    ]
    where = metrics.get("localization") or {}
    if "mean_iou" in where:
        rows.append((f"mean IoU of the rectangle with the {as_text(where['truth'])}", f"{where['mean_iou']:.3f}"))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"On the {metrics['n']:,} images of the split {as_code(metrics['split'])}:\n\n| | |\n|---|---|\n{table}"


def _limits(metrics: Mapping[str, Any]) -> str:
    lines = [
        f"- It always predicts one of its {metrics['n_classes']} classes, even for images of something else.",
        "- The figures hold for photographs like those of its data.",
    ]
    worst = min(metrics["per_class"], key=lambda row: row["recall"] if row["recall"] is not None else 2.0)
    if worst["recall"] is not None:
        lines.append(
            f"- The worst class is {as_text(worst['class'])}:"
            f" {worst['recall']:.0%} of its {worst['n']} images are right."
        )
    if pairs := metrics.get("confusion_pairs"):
        pair = pairs[0]
        lines.append(
            f"- The most frequent confusion: {as_text(pair['label'])} taken for {as_text(pair['predicted'])},"
            f" {pair['count']} times."
        )
    return "\n".join(lines)


def _metrics(run: RunFolder) -> dict[str, Any]:
    metrics = run.read_metrics()
    if metrics is None:
        raise UserError(f"{run.path}: was not evaluated. Run `rsam evaluate {run.path}` first.")
    return metrics


def _draw_example(job: Job, split: str, path: Path) -> None:
    from PIL import Image

    from rsam_app.data.images.decoding import read_image
    from rsam_app.evaluation.inference.trained_model import load
    from rsam_app.run.predictions import read_predictions

    rows = (
        read_predictions(job.run.predictions, [split]).select(["path", "label", "predicted", "confidence"]).to_pylist()
    )
    right = [row for row in rows if row["label"] == row["predicted"]]
    if not right:
        return
    surest = max(right, key=lambda row: row["confidence"])
    pixels, _ = read_image(Path(surest["path"]))
    picture = Image.fromarray(pixels)
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    with replace_atomically(path) as partial:
        load(job.run.path).predict(surest["path"]).draw(picture).save(partial, format="JPEG", quality=90)
