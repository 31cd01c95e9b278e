"""The sentences about two rounds of the demo, on predictions with a known result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.data.synthetic import Planted, PlantedImage
from rsam_app.data.synthetic.species import SHORTCUT
from rsam_app.geometry.types import RECTANGLE_FIELDS, Rectangle
from rsam_app.workflow.demo.change import change_sentences, on_flowers, shortcut_change

BEETLE, FLOWERS = Rectangle(50.0, 50.0, 80.0, 60.0, 0.0), Rectangle(180.0, 20.0, 40.0, 40.0, 0.0)


def _image(species: str, flowers: bool) -> PlantedImage:
    return PlantedImage(
        split="test",
        species=species,
        label=species,
        width=200,
        height=100,
        habitat="moss",
        box=(10.0, 20.0, 80.0, 60.0),
        rectangle=BEETLE,
        flowers=(160.0, 0.0, 40.0, 40.0) if flowers else None,
    )


PLANTED = Planted(0, {f"{n}.jpg": _image("plain_lanternback", flowers=n < 4) for n in range(6)})
"""Six test images, the first four with flowers in a corner away from the beetle."""


def _table(predicted: list[str], rectangles: list[Rectangle]) -> pa.Table:
    truth = PLANTED.images.values()
    columns: dict[str, Any] = {
        "id": list(PLANTED.images),
        "split": [t.split for t in truth],
        "label": [t.label for t in truth],
        "predicted": predicted,
        "confidence": [0.9] * len(predicted),
    }
    return pa.table(columns | {name: [r[i] for r in rectangles] for i, name in enumerate(RECTANGLE_FIELDS)})


BEFORE = _table([SHORTCUT] * 3 + ["plain_lanternback"] * 3, [FLOWERS] * 3 + [BEETLE] * 3)
NOW = _table([SHORTCUT] + ["plain_lanternback"] * 5, [FLOWERS] + [BEETLE] * 5)


def test_the_shortcut_is_counted_before_and_now() -> None:
    assert shortcut_change(PLANTED, BEFORE, NOW) == (
        "Shortcut: of the rectangles in test images with pink flowers, 1 of 4 cover the flowers rather than the"
        " beetle, 3 of 4 before; the flowers misled the model in 1 test images, 3 before."
    )


def test_images_without_flowers_or_without_a_rectangle_are_not_counted() -> None:
    truth = list(PLANTED.images.values())
    rectangles = np.array([FLOWERS] * 6, dtype=np.float64)
    assert on_flowers(truth, rectangles).tolist() == [True] * 4
    rectangles[0] = np.nan
    assert on_flowers(truth, rectangles).tolist() == [True] * 3
    assert on_flowers(truth[4:], rectangles[4:]).tolist() == []


def test_figures_and_moves_become_sentences() -> None:
    moved = [{"id": f"{n}.jpg", "first": {"iou": 0.0}, "second": {"iou": 0.75}} for n in range(4)]
    worst = {run: {"class": "plain_lanternback", "n": 6, "recall": 0.5} for run in ("first", "second")}
    others = dict.fromkeys(("attention_limit", "agreement", "worst_group", "removed"))
    run = {"only_here": 0, "relabelled": 0}
    figures = others | {
        "split": "test",
        "first": run,
        "second": run,
        "worst_class": worst,
        "top1": {"first": 0.5, "second": 0.833, "difference": 0.333, "interval": None},
        "mcnemar": {"fixed": 2, "broken": 0, "p": 0.5},
        "attention": {
            "n": 6, "boxes_from": {"boxes": 6}, "first": 0.5, "second": 0.83, "difference": 0.33, "interval": None,
        },
        "changed": {"moved off the object": [], "moved onto the object": moved},
    }  # fmt: skip
    headline, accuracy, attention, onto, shortcut = change_sentences(
        PLANTED, (BEFORE, NOW), figures, {"first": "demo", "second": "demo-round2"}
    )
    said = headline.replace("\N{NO-BREAK SPACE}", " ")
    assert said == "Test images: top-1 50.0 % → 83.3 %; the rectangles' mean IoU with the true boxes 0.500 → 0.830."
    assert "Top-1 changed by +33.3 points: 2 fixed, 0 broken, which may be chance" in accuracy
    assert "changed by +0.330; 0 moved off the object, 4 onto it" in attention
    assert onto == (
        "Moved onto the beetle: 0.jpg (IoU 0.00 → 0.75), 1.jpg (IoU 0.00 → 0.75), 2.jpg (IoU 0.00 → 0.75), and 1 more."
    )
    assert shortcut.startswith("Shortcut: ")
