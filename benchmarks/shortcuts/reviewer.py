"""A simulated reviewer, who draws boxes a little off, and some of them on the wrong thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rsam_app.data.records import Record
from rsam_app.geometry.types import Rectangle
from rsam_app.run.answers import Answers

JITTER, WRONG = 0.1, 0.05
"""How far an edge is off, at most, as a share of the box's side; the share of the boxes that are anywhere."""


def draw_boxes(records: Sequence[Record], count: int, seed: int) -> Answers:
    """The answers of a reviewer to `count` of the records, drawn at random: one box each."""
    draws = np.random.default_rng((seed, 77))
    chosen = draws.permutation(len(records))[:count].tolist()
    return draw_in([records[i] for i in chosen], draws)


def draw_in(records: Sequence[Record], draws: np.random.Generator) -> Answers:
    """The answers of a reviewer to all of these records."""
    wrong = set(draws.permutation(len(records))[: round(WRONG * len(records))].tolist())
    return Answers({record.id: _drawn(record, turn in wrong, draws) for turn, record in enumerate(records)})


def _drawn(record: Record, wrong: bool, draws: np.random.Generator) -> Rectangle:
    x, y, width, height = record.boxes[0]
    if wrong:
        x, y = draws.uniform(0, record.width - width), draws.uniform(0, record.height - height)
    left, top, right, bottom = np.array([x, y, x + width, y + height]) + draws.uniform(-JITTER, JITTER, 4) * (
        width, height, width, height,
    )  # fmt: skip
    return Rectangle(float(left + right) / 2, float(top + bottom) / 2, float(right - left), float(bottom - top), 0.0)
