"""Figures of a taxonomy against plain loops and known answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from rsam_app.config import Taxonomy
from rsam_app.data.records import Dataset
from rsam_app.evaluation.metrics.hierarchy import (
    ancestor_heights,
    roll_up_figures,
    taxonomy_figures,
    threshold_to_apply,
)
from rsam_app.evaluation.metrics.summary import evaluate_predictions
from rsam_app.evaluation.report.headlines import taxonomy_lines
from rsam_app.model.roll_up import roll_up

PETS = Taxonomy(
    ("class", "breed group", "animal"),
    (
        ("beagle", "basset", "poodle", "siamese", "goldfish"),
        ("hound", "hound", "water dog", "cat", "fish"),
        ("mammal", "mammal", "mammal", "mammal", "fish"),
    ),
)


def probabilities(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are calibrated by construction, as labels are drawn from them."""
    generator = np.random.default_rng(seed)
    drawn = softmax(generator.normal(scale=noise, size=(n, 5)), axis=1)
    return drawn, np.array([generator.choice(5, p=row) for row in drawn])


def test_heights_of_common_ancestors() -> None:
    first, second = np.array([0, 0, 0, 3, 0, 4]), np.array([0, 1, 2, 1, 4, 4])
    assert ancestor_heights(PETS, first, second).tolist() == [0, 1, 2, 2, 3, 0]


def test_accuracy_of_each_level_counts_the_node_above_the_predicted_class() -> None:
    figures = taxonomy_figures(PETS, np.array([0, 0, 0, 3, 0, 4]), np.array([0, 1, 2, 1, 4, 4]))
    assert [level["level"] for level in figures["levels"]] == list(PETS.levels)
    assert [level["n_nodes"] for level in figures["levels"]] == [5, 4, 2]
    assert [level["top1"] for level in figures["levels"]] == pytest.approx([2 / 6, 3 / 6, 5 / 6])
    for level in figures["levels"]:
        low, high = level["top1_interval"]
        assert low < level["top1"] < high
    assert figures["n_mistakes"] == 4
    assert figures["mean_mistake_height"] == pytest.approx((1 + 2 + 2 + 3) / 4)
    low, high = figures["mean_mistake_height_interval"]
    assert 1 <= low < 2 < high <= 3


def test_without_a_mistake_their_height_is_unknown() -> None:
    figures = taxonomy_figures(PETS, np.array([0, 1]), np.array([0, 1]))
    assert figures["n_mistakes"] == 0
    assert np.isnan(figures["mean_mistake_height"])


def outcomes(shares: np.ndarray, labels: np.ndarray, threshold: float) -> list[tuple[str, bool] | None]:
    """Level of each rolled-up answer, and whether it is right."""
    found: list[tuple[str, bool] | None] = []
    for answer, label in zip(roll_up(shares, PETS, threshold), labels, strict=True):
        nodes = dict(zip(PETS.levels, PETS.nodes, strict=True))
        found.append(None if answer is None else (answer.level, nodes[answer.level][label] == answer.name))
    return found


@pytest.mark.parametrize(("accuracy", "noise"), [(0.8, 2.0), (0.9, 2.0), (0.95, 3.0)])
def test_the_threshold_is_the_least_that_keeps_the_accuracy(accuracy: float, noise: float) -> None:
    shares, labels = probabilities(300, noise)

    def keeps(threshold: float) -> bool:
        answers = [answer for answer in outcomes(shares, labels, threshold) if answer]
        return sum(right for _, right in answers) >= accuracy * (len(answers) + 1)

    threshold, why_not = threshold_to_apply(shares, labels, PETS, accuracy)
    assert threshold is not None and threshold >= 0.5 and why_not == ""
    assert keeps(threshold)
    at_it = outcomes(shares, labels, threshold)
    lower = [t for t in np.linspace(0.5, threshold, 200) if outcomes(shares, labels, t) != at_it]
    assert lower and not any(keeps(t) for t in lower)


def test_few_images_promise_nothing() -> None:
    sure = np.full((18, 5), 0.0)
    sure[:, 0] = 1
    threshold, why_not = threshold_to_apply(sure, np.zeros(18, dtype=int), PETS, 0.95)
    assert threshold is None
    assert why_not == "95 % right answers take 19 val images, and there are 18"
    assert threshold_to_apply(np.vstack([sure, sure[:1]]), np.zeros(19, dtype=int), PETS, 0.95) == (1.0, "")
    for accuracy, least in ((0.9, 9), (0.99, 99)):
        assert f"take {least} val" in threshold_to_apply(sure[:8], np.zeros(8, dtype=int), PETS, accuracy)[1]
    wrong = threshold_to_apply(np.vstack([sure, sure]), np.full(36, 4), PETS, 0.95)
    assert wrong == (None, "at no threshold are 95 % of the answers to 36 val images right")
    assert threshold_to_apply(sure[:0], np.zeros(0, dtype=int), PETS, 0.95)[0] is None


def test_new_images_keep_the_accuracy_that_validation_images_promised() -> None:
    threshold, _ = threshold_to_apply(*probabilities(3000, 2.0, seed=1), PETS, 0.9)
    assert threshold is not None
    figures = roll_up_figures(PETS, threshold, *probabilities(3000, 2.0, seed=2))
    assert figures["accuracy"] == pytest.approx(0.9, abs=0.03)


def test_figures_of_rolled_up_answers_agree_with_counting_them() -> None:
    shares, labels = probabilities(400, 2.0)
    figures = roll_up_figures(PETS, 0.85, shares, labels)
    found = outcomes(shares, labels, 0.85)
    answered = [answer for answer in found if answer]
    assert figures["n"] == len(answered) < 400
    assert figures["share"] == len(answered) / 400
    assert figures["accuracy"] == pytest.approx(np.mean([right for _, right in answered]))
    for level in figures["levels"]:
        right = [right for name, right in answered if name == level["level"]]
        assert right and level["n"] == len(right)
        assert level["accuracy"] == pytest.approx(np.mean(right))
        low, high = level["accuracy_interval"]
        assert low <= level["accuracy"] <= high


def test_a_level_without_answers_has_no_accuracy() -> None:
    sure = np.array([[1.0, 0, 0, 0, 0]])
    levels = roll_up_figures(PETS, 0.9, sure, np.array([0]))["levels"]
    assert [level["n"] for level in levels] == [1, 0, 0]
    assert levels[1]["accuracy"] is None


def test_metrics_have_them_if_the_dataset_has_a_taxonomy(dataset: Dataset, make_table: Any) -> None:
    table = make_table(dataset.records)
    assert "taxonomy" not in evaluate_predictions(table, dataset, "test")
    named = replace(dataset, taxonomy=Taxonomy(("class", "kind"), (dataset.classes, ("pet",) * 4)))
    metrics = evaluate_predictions(table, named, "test", sure_accuracy=0.6)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    found = metrics["taxonomy"]
    assert [level["top1"] for level in found["levels"]] == [metrics["top1"], 1]
    assert found["mean_mistake_height"] == 1
    rolled = found["roll_up"]
    assert rolled["share"] == 1  # the only animal is sure
    assert rolled["chosen_for"] == 0.6
    first, second = taxonomy_lines(found)
    assert f"class {100 * metrics['top1']:.1f} %, kind 100.0 %; mistakes meet the label 1.00 levels above" in first
    assert f"{100 * rolled['share']:.1f} % of the images answered, {100 * rolled['accuracy']:.1f} % of them" in second
    few = evaluate_predictions(table, named, "test", sure_accuracy=0.97)  # twenty val images are too few for this
    assert few["taxonomy"]["roll_up"] is None
    assert "97 % right answers take 33 val images, and there are 20" in few["absent"]["taxonomy.roll_up"]
    assert len(taxonomy_lines(few["taxonomy"])) == 1
    with pytest.raises(ValueError, match="other classes"):
        evaluate_predictions(table, named, "test", classes=dataset.classes[::-1])
    onval = evaluate_predictions(table, named, "val")
    assert "itself" in onval["absent"]["taxonomy.roll_up"]
