"""The worst of the label × group groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.accuracy import worst_group


def record(label: str, group: str) -> Record:
    return Record("x", Path("x"), label, "test", group=group)


def test_the_worst_group_is_found_and_the_mean_is_over_groups() -> None:
    records = [record("a", "land")] * 8 + [record("a", "water")] * 2 + [record("b", "water")] * 4
    right = np.array([True] * 8 + [True, False] + [True, True, True, False])
    found = worst_group(right, records)
    assert (found["worst_label"], found["worst_group"], found["worst_n"]) == ("a", "water", 2)
    assert found["worst"] == 0.5
    assert found["mean"] == pytest.approx((1 + 0.5 + 0.75) / 3)
    assert found["gap"] == pytest.approx(0.25)
    assert [entry["top1"] for entry in found["by_group"]] == [0.5, 0.75, 1]
    assert found["n"] == 14


def test_images_without_a_group_do_not_count() -> None:
    found = worst_group(np.array([True, False]), [record("a", "land"), record("a", "")])
    assert found["n"] == 1
    assert found["worst"] == 1
    with pytest.raises(ValueError, match="no record"):
        worst_group(np.array([True]), [record("a", "")])
