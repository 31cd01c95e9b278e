"""The learning curve of taught discovery, on known numbers and on drawn scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsam_app.run.outlook import FEWEST, SMALL, STEP, Outlook
from rsam_app.training.discovery.learning_curve import answers_until_flat, find_outlook
from rsam_app.training.discovery.lessons import Lessons
from rsam_app.training.discovery.objectness import Objectness
from rsam_app.training.discovery.taught import try_lessons

SIZES = np.array([4.0, 8.0, 16.0])


def merits(slope: float, spread: float) -> np.ndarray:
    """Agreements of 20 answers on the curve .7 - slope / √n, each moved by its own constant and by opposite noise."""
    curve = 0.7 - slope / np.sqrt(SIZES)[:, None]
    noise = spread * np.array([1, 0, -1])[:, None] * np.tile([1.0, -1.0], 10)
    return curve + np.linspace(-0.2, 0.2, 20) + noise


def test_the_curve_flattens_where_its_equation_does() -> None:
    more = answers_until_flat(SIZES, merits(1.0, 0.001), 20)
    assert more is not None

    def gain(n: int) -> float:
        return n**-0.5 - (n + STEP) ** -0.5

    assert gain(20 + more) < SMALL <= gain(20 + more - 1)


def test_a_flat_or_falling_curve_needs_no_more() -> None:
    assert answers_until_flat(SIZES, merits(0.0, 0.001), 20) == 0
    assert answers_until_flat(SIZES, merits(-1.0, 0.001), 20) == 0
    assert answers_until_flat(SIZES, merits(0.1, 0.001), 20) == 0  # it rises, but by little


def test_answers_that_differ_too_much_tell_nothing() -> None:
    assert answers_until_flat(SIZES, merits(0.1, 2.0), 20) is None


def lessons(features: torch.Tensor, count: int) -> Lessons:
    """The cells of channel 0 as drawn rectangles of the first images."""
    return Lessons(torch.arange(count), (features[:count, 0] > 2).float(), torch.ones(count, dtype=torch.bool))


@pytest.fixture
def features() -> torch.Tensor:
    """40 maps with a square of 4 × 4 cells in channel 0, elsewhere noise."""
    maps = torch.randn(40, 6, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.3
    for row in range(40):
        y, x = row % 8, row * 3 % 8
        maps[row, 0, y : y + 4, x : x + 4] += 4
    return maps


def test_an_easy_object_is_held_out_well_and_needs_no_more_answers(features: torch.Tensor) -> None:
    untaught = Objectness(torch.ones(6), torch.tensor([0.0, 1, 0, 0, 0, 0]), 0.0)
    outlook = find_outlook(try_lessons(untaught, features, lessons(features, 20)))
    assert outlook.answers == 20 and outlook.flattens_after == 0
    assert outlook.held_out_agreement is not None and outlook.held_out_agreement > 0.8


def test_few_answers_tell_nothing(features: torch.Tensor) -> None:
    untaught = Objectness(torch.ones(6), torch.ones(6), 0.0)
    assert find_outlook(try_lessons(untaught, features, lessons(features, FEWEST - 1))) == Outlook(
        FEWEST - 1, None, None
    )
