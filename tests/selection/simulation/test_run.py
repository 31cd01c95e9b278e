"""Simulated rounds on blobs: curves, files, resuming, and refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from rsam_app.selection import find_strategy
from rsam_app.selection.simulation import run as module
from rsam_app.selection.simulation.logistic import scaled
from rsam_app.selection.simulation.rounds import Oracle, simulate, unlabelled
from rsam_app.selection.simulation.run import Plan, simulate_all
from rsam_app.selection.simulation.summary import labels_to, paired_areas, summarise, summary_table
from rsam_app.system.errors import UserError


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    """Six classes of very unequal size: uniform draws miss the small ones for a long time."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 10))
    labels = np.repeat(np.arange(6), [60, 50, 40, 6, 5, 4])
    test = np.repeat(np.arange(6), 20)
    points, probes = (centres[y] + 0.5 * rng.normal(size=(len(y), 10)) for y in (labels, test))
    return Oracle(scaled(points), labels, scaled(probes), test, 6)


@pytest.mark.parametrize("name", ["herding", "typiclust", "margin", "badge", "k_center", "rare_class_first", "auto"])
def test_a_curve_has_a_point_a_round_and_is_the_same_by_seed(oracle: Oracle, name: str) -> None:
    found = simulate(oracle, find_strategy(name), 3, 6, 5, seed=1)
    curve = found.accuracy
    assert len(curve) == len(found.suggested) == 4 and all(0 <= point <= 1 for point in curve)
    again = simulate(oracle, find_strategy(name), 3, 6, 5, seed=1)
    assert (curve, found.suggested) == (again.accuracy, again.suggested)
    assert len(set(found.order.tolist())) == 21
    assert max(curve) > 0.4, "chance is a sixth"


def test_the_pool_ends(oracle: Oracle) -> None:
    small = oracle.part(0.1, 0)
    assert len(simulate(small, find_strategy("random"), 9, 8, 8, seed=0).accuracy) == 2


def test_a_strategy_sees_no_label_that_it_did_not_choose(oracle: Oracle) -> None:
    pool = unlabelled(oracle, np.zeros((165, 6)), np.arange(5, 165), np.arange(5))
    assert set(pool.labels) == {""} and (pool.label_indices == -1).all()
    assert pool.label_counts is not None and pool.label_counts.tolist() == [5, 0, 0, 0, 0, 0]


def test_writes_curves_and_resumes(oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(("herding", "random"), rounds=2, start=6, budget=5, seeds=3)
    first = simulate_all(oracle, "blobs", plan, tmp_path, "blobs", lambda done: None)
    cells = (tmp_path / "cells.jsonl").read_text().splitlines()
    assert len(cells) == 9
    with (tmp_path / "curves.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["strategy"], r["labels"]) for r in rows][:3] == [("herding", "6"), ("herding", "11"), ("herding", "16")]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((tmp_path / "summary.json").read_text())["strategies"].keys() == {"herding", "random"}
    assert "herding" in summary_table(first) and "suggested right" in summary_table(first)
    shares = first["strategies"]["herding"]["suggested"]
    assert len(shares) == 3 and shares[0] < shares[-1] < 1, "the first two images have no suggestion"

    (tmp_path / "cells.jsonl").write_text("\n".join(cells[:4]) + "\n" + cells[4][:25])  # killed while writing
    made = []
    monkeypatch.setattr(module, "simulate", lambda *rest: made.append(rest[1].name) or simulate(*rest))
    assert simulate_all(oracle, "blobs", plan, tmp_path, "blobs", lambda done: None) == first
    assert len(made) == 4
    assert len((tmp_path / "cells.jsonl").read_text().splitlines()) == 9
    simulate_all(oracle, "other features", plan, tmp_path, "blobs", lambda done: None)
    assert len(made) == 10, "cells of other features do not count"


@pytest.mark.parametrize(
    ("plan", "word"),
    [
        (Plan(("random",), rounds=50), "2550 labels"),
        (Plan(("random",), rounds=1, start=0, budget=5), "start is 0"),
        (Plan(("random",), rounds=1, start=5, budget=5, pool_share=0), "pool share"),
        (Plan(("misattention",), rounds=1, start=5, budget=5), "cached features has neither"),
        (Plan(("typclust",), rounds=1, start=5, budget=5), "Did you mean 'typiclust'"),
    ],
)
def test_impossible_plans_are_refused(oracle: Oracle, tmp_path: Path, plan: Plan, word: str) -> None:
    with pytest.raises(UserError, match=word):
        simulate_all(oracle, "blobs", plan, tmp_path / "none", "blobs", lambda done: None)
    assert not (tmp_path / "none").exists()


def test_a_damaged_line_is_named(oracle: Oracle, tmp_path: Path) -> None:
    (tmp_path / "cells.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="line 1: is damaged"):
        simulate_all(oracle, "blobs", Plan(("random",), 1, 5, 5, 1), tmp_path, "blobs", lambda done: None)


def test_labels_to_a_target_lie_on_the_line_between_points() -> None:
    curve = np.array([0.2, 0.4, 0.8])
    assert labels_to(curve, [10, 20, 30], 0.6) == pytest.approx(25)
    assert labels_to(curve, [10, 20, 30], 0.1) == 10
    assert labels_to(curve, [10, 20, 30], 0.9) is None


def test_areas_are_compared_seed_by_seed() -> None:
    first = {0: [0.5, 0.7], 1: [0.1, 0.3], 2: [0.9, 0.9]}
    second = {0: [0.4, 0.6], 1: [0.1, 0.1], 3: [1.0, 1.0]}
    found = paired_areas(first, second)
    assert found is not None and found["n"] == 2
    assert found["mean"] == pytest.approx(0.1) and found["p"] < 1e-6
    assert paired_areas({0: [1.0]}, {0: [0.5]}) is None


def test_every_strategy_is_compared_with_every_other() -> None:
    curves = {
        "one": {0: [0.5, 0.7], 1: [0.2, 0.3]},
        "two": {0: [0.4, 0.8], 1: [0.1, 0.1]},
        "random": {0: [0, 0], 1: [0, 0]},
    }
    found = summarise(curves, [10, 20], {0: 1.0, 1: 1.0})["strategies"]
    assert found["one"]["minus_others"].keys() == {"two", "random"}
    assert found["one"]["minus_others"]["two"]["mean"] == pytest.approx(0.075)
    assert found["two"]["minus_others"]["one"]["mean"] == pytest.approx(-0.075)
    assert found["one"]["share_of_best"] == pytest.approx(1.0)
    assert found["two"]["share_of_best"] == pytest.approx(0.25 / 0.35)
