"""A simulated reviewer, whose boxes are a little off and who is sometimes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rsam_app.data.records import Record
from rsam_app.geometry.overlap import box_iou, upright_edges
from rsam_app.geometry.types import Rectangle
from rsam_app.run.answers import Answers

JITTER, WRONG = 0.1, 0.05
"""How far an edge is off, at most, as a share of the box's side; the share of the answers that are wrong."""

ON_OBJECT = 0.5
"""IoU with the true box from which the reviewer says that a rectangle is right."""

SECONDS = {"box": 6, "yes or no": 2, "label": 4}
"""What an answer takes, in seconds."""


def draw_boxes(records: Sequence[Record], count: int, seed: int) -> Answers:
    """The answers of a reviewer to `count` of the records, drawn at random: one box each."""
    draws = np.random.default_rng((seed, 77))
    chosen = draws.permutation(len(records))[:count].tolist()
    return draw_in([records[i] for i in chosen], draws)


def draw_in(records: Sequence[Record], draws: np.random.Generator) -> Answers:
    """The answers of a reviewer to all of these records."""
    wrong = set(draws.permutation(len(records))[: round(WRONG * len(records))].tolist())
    return Answers({record.id: _drawn(record, turn in wrong, draws) for turn, record in enumerate(records)})


def judge(records: Sequence[Record], shown: Mapping[str, Rectangle], count: int, seed: int) -> Answers:
    """The answers, right or wrong, to the rectangles shown in `count` of the records, drawn at random."""
    draws = np.random.default_rng((seed, 78))
    asked = [r for r in records if r.id in shown]
    asked = [asked[i] for i in draws.permutation(len(asked))[:count]]
    mistaken = set(draws.permutation(len(asked))[: round(WRONG * len(asked))].tolist())
    answers: dict[bool, dict[str, Rectangle]] = {True: {}, False: {}}
    for turn, record in enumerate(asked):
        size, (x, y, width, height) = np.array([[record.width, record.height]]), record.boxes[0]
        edges = upright_edges(np.array([shown[record.id]]), size)
        is_right = bool(box_iou(edges, np.array([[x, y, x + width, y + height]]))[0] >= ON_OBJECT)
        answers[is_right != (turn in mistaken)][record.id] = shown[record.id]
    return Answers(answers[True], answers[False])


def _drawn(record: Record, wrong: bool, draws: np.random.Generator) -> Rectangle:
    x, y, width, height = record.boxes[0]
    if wrong:
        x, y = draws.uniform(0, record.width - width), draws.uniform(0, record.height - height)
    left, top, right, bottom = np.array([x, y, x + width, y + height]) + draws.uniform(-JITTER, JITTER, 4) * (
        width, height, width, height,
    )  # fmt: skip
    return Rectangle(float(left + right) / 2, float(top + bottom) / 2, float(right - left), float(bottom - top), 0.0)
