"""Held-out probabilities: independent of an image's own label, and low for wrong labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rsam_app.evaluation.scores.label_belief import training_belief
from rsam_app.run.folder import RunFolder
from rsam_app.selection import label_quality
from rsam_app.training import held_out_probabilities as held_out
from rsam_app.training.held_out_probabilities import held_out_probabilities, relative_quality
from rsam_app.training.warm_start import logistic_regression


def blobs(count: int, classes: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around one centre per class, in so many dimensions that a linear fit can learn wrong labels too."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, count)
    points = rng.normal(size=(classes, width))[labels] + 2.0 * rng.normal(size=(count, width))
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(labels)


def test_an_images_own_label_does_not_change_its_probabilities() -> None:
    points, labels = blobs(60, 3, 8)
    alone = torch.full((5, 8), 9.0)  # five equal images, no two of them in one fold
    given = torch.tensor([0, 1, 2, 0, 1])
    both = held_out_probabilities(torch.cat([points, alone]), torch.cat([labels, given]), 3, seed=1)
    assert both is not None
    assert both.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (both[60:].argmax(axis=1) == given.numpy()).sum() <= 2, "its own label would have won every time"
    np.testing.assert_array_equal(
        both, held_out_probabilities(torch.cat([points, alone]), torch.cat([labels, given]), 3, 1)
    )


def test_wrong_labels_stand_out_although_a_fit_to_all_would_hide_them() -> None:
    points, labels = blobs(200, 5, 400)
    given = labels.clone()
    given[:20] = (labels[:20] + 1) % 5
    held = held_out_probabilities(points, given, 5, seed=0)
    weight, bias, _ = logistic_regression(points, given, 5, 1e-3)
    fitted = torch.softmax(points @ weight.T + bias, dim=1).numpy()
    assert held is not None
    doubted = [label_quality(p, given.numpy()) < 0.5 for p in (held, fitted)]
    assert doubted[0][:20].all() and not doubted[0][20:].any()
    assert not doubted[1][:20].any(), "fitted to wrong labels, it believes them"


def test_wrong_labels_count_less_in_the_second_fit() -> None:
    points, labels = blobs(300, 4, 40)
    given = labels.clone()
    given[:75] = (labels[:75] + 1) % 4
    found = held_out_probabilities(points, given, 4, seed=0)
    assert found is not None
    scaled = 10 * torch.nn.functional.normalize(points, dim=1)
    sample, right = np.arange(0, 300, 10), labels.numpy()
    once = []
    for row in sample:  # each left out alone, all labels counting alike
        others = torch.arange(300) != row
        weight, bias, _ = logistic_regression(scaled[others], given[others], 4, held_out.DECAY)
        once.append(float(torch.softmax(weight @ scaled[row] + bias, dim=0)[right[row]]))
    assert found[sample, right[sample]].mean() > np.mean(once) + 0.01


def test_every_class_keeps_its_weight() -> None:
    labels = np.array([0, 0, 0, 2, 2, 3])
    found = relative_quality(np.array([0.2, 0.4, 0.6, 0.1, 0.3, 0.0]), labels, 4)
    np.testing.assert_allclose(found, [0.5, 1.0, 1.5, 0.5, 1.5, 1.0])


def test_a_row_of_weight_two_equals_a_repeated_row() -> None:
    points, labels = blobs(40, 3, 5)
    counts = torch.ones(40)
    counts[:10] = 2
    weight, bias, _ = logistic_regression(points, labels, 3, 1e-2, counts / counts.mean())
    twice = torch.cat([torch.arange(40), torch.arange(10)])
    expected_weight, expected_bias, _ = logistic_regression(points[twice], labels[twice], 3, 1e-2)
    torch.testing.assert_close(weight, expected_weight, atol=1e-2, rtol=0)
    torch.testing.assert_close(bias, expected_bias, atol=1e-2, rtol=0)


def test_a_class_of_one_image_and_two_images_are_enough() -> None:
    points, labels = blobs(12, 3, 4)
    labels[:] = torch.tensor([0] * 11 + [2])
    found = held_out_probabilities(points, labels, 3, seed=0)
    assert found is not None and np.isfinite(found).all() and found[11].argmax() == 0
    pair = held_out_probabilities(points[:2], torch.tensor([0, 1]), 2, seed=0)
    assert pair is not None and pair.argmax(axis=1).tolist() == [1, 0]
    assert held_out_probabilities(points[:1], labels[:1], 3, seed=0) is None


def test_too_many_probabilities_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "MAX_ENTRIES", 35)
    assert held_out_probabilities(*blobs(12, 3, 4), 3, seed=0) is None


def test_both_probabilities_are_combined_or_used_alone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert training_belief(run, ["a", "b", "c"]) is None
    learned = np.array([[0.5, 0.5], [0.9, 0.1], [np.nan, np.nan]])
    np.save(run.learned_probabilities, learned.astype(np.float16))
    alone = training_belief(run, ["a", "b", "c"])
    assert alone is not None and alone.dtype == np.float32
    np.testing.assert_allclose(alone, learned, atol=1e-3)
    np.save(run.held_out_probabilities, np.array([[0.25, 0.75], [0.0, 1.0], [0.5, 0.5]], dtype=np.float32))
    both = training_belief(run, ["a", "b", "c"])
    assert both is not None and both.dtype == np.float32
    assert both[0, 1] / both[0, 0] == pytest.approx(3**0.8, rel=1e-3)
    assert both[1, 1] > 0.99 and np.isnan(both[2]).all()
    assert training_belief(run, ["a", "b", "c", "d"]) is None, "of another training split"


def test_belief_follows_the_image_when_others_were_excluded_or_added(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    learned = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    np.save(run.learned_probabilities, learned.astype(np.float16))
    run.training_records.write_text('["a", "b", "c"]', encoding="utf-8")
    found = training_belief(run, ["new", "c", "b"])
    assert found is not None
    np.testing.assert_allclose(found, [[np.nan, np.nan], learned[2], learned[1]], atol=1e-3)
