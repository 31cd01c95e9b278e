"""The combined score: a mean that does not depend on other images."""

from __future__ import annotations

import numpy as np
import pytest

from rsam_app.evaluation.scores.misattention import misattention

NOTHING = np.full(3, np.nan)


def test_it_runs_from_all_fine_to_all_wrong() -> None:
    ends = np.array([0.0, 1, 0.5])
    found = misattention({"outside_activation": ends, "instability": ends}, 1 - ends)
    np.testing.assert_allclose(found, ends)


def test_each_part_counts_and_doubt_least() -> None:
    zero, half = np.zeros(1), np.full(1, 0.5)
    sure = np.ones(1)
    base = misattention({"outside_activation": zero, "instability": zero}, sure)[0]
    by_place = misattention({"outside_activation": half, "instability": zero}, sure)[0]
    by_views = misattention({"outside_activation": zero, "instability": half}, sure)[0]
    by_doubt = misattention({"outside_activation": zero, "instability": zero}, sure - half)[0]
    assert base < by_doubt < min(by_place, by_views)


def test_without_views_the_other_parts_decide_and_without_a_rectangle_it_is_nan() -> None:
    activation, confidence = np.array([0.2, 0.5, np.nan]), np.array([0.9, 0.5, 0.9])
    found = misattention({"outside_activation": activation, "instability": NOTHING}, confidence)
    np.testing.assert_allclose(found, [(0.7 * 0.2 + 0.02) / 0.9, (0.7 * 0.5 + 0.1) / 0.9, np.nan])
    alone = misattention({"outside_activation": activation[:1], "instability": NOTHING[:1]}, confidence[:1])
    assert alone[0] == pytest.approx(found[0]), "other images do not matter"
