"""Answers of a reviewer: a few rectangles turn discovery from the most salient thing to the one that they show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from rsam_app.data.records import Record
from rsam_app.geometry.overlap import box_iou
from rsam_app.geometry.types import Rectangle
from rsam_app.run.answers import Answers
from rsam_app.training.discovery.discover import SIDE, discover_rectangles, learn_untaught
from rsam_app.training.discovery.lessons import make_lessons
from rsam_app.training.discovery.objectness import feature_scale, fit_objectness
from rsam_app.training.discovery.parts import best_part, focused
from rsam_app.training.discovery.taught import teach, try_lessons

CELLS, CELL = 14, SIDE // 14
COUNT, WIDTH, HEIGHT = 32, 280, 140


@dataclass(frozen=True)
class Scene:
    """Photographs of a small blue object and a larger red one, with the features that a backbone might have of them:
    the red one stands out most."""

    records: list[Record]
    maps: Tensor
    images: np.ndarray
    blue: np.ndarray
    red: np.ndarray

    def late_stages(self, records: list[Record], size: int, thumbnail: int):
        rows = [int(record.id) for record in records]
        for part in np.array_split(rows, 3):
            yield self.maps[part], self.images[part]

    def last_stage_channels(self) -> int:
        return 12

    def rectangle(self, edges: np.ndarray) -> Rectangle:
        left, top, right, bottom = edges * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        return Rectangle((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, 0.0)

    def overlap(self, found: dict[str, Rectangle], truth: np.ndarray) -> float:
        """Mean IoU of the rectangles' upright boxes, all of angle near 0, with the truth; 0 if none was found."""
        ious = []
        for row, record in enumerate(self.records):
            r = found.get(record.id)
            if r is None:
                ious.append(0.0)
                continue
            w = abs(r.width * np.cos(r.angle)) + abs(r.height * np.sin(r.angle))
            h = abs(r.width * np.sin(r.angle)) + abs(r.height * np.cos(r.angle))
            edges = np.array([[r.cx - w / 2, r.cy - h / 2, r.cx + w / 2, r.cy + h / 2]])
            ious.append(float(box_iou(edges / (WIDTH, HEIGHT, WIDTH, HEIGHT), truth[row : row + 1])[0]))
        return float(np.mean(ious))


@pytest.fixture(scope="module")
def scene() -> Scene:
    draws, noise = np.random.default_rng(0), torch.Generator().manual_seed(0)
    maps = torch.randn(COUNT, 16, CELLS, CELLS, generator=noise) * 0.3
    images = np.clip(draws.normal(110, 8, (COUNT, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    boxes: dict[str, list[np.ndarray]] = {"blue": [], "red": []}
    for row in range(COUNT):
        sides = draws.permutation([0, 7])
        for (name, channel, strength, side, colour), begin in zip(
            (("red", 0, 4.0, 6, (200, 40, 40)), ("blue", 1, 2.0, 4, (40, 60, 220))), sides, strict=True
        ):
            x, y = begin + int(draws.integers(0, 8 - side)), int(draws.integers(0, CELLS - side))
            maps[row, channel, y : y + side, x : x + side] += strength
            edges = np.array([x, y, x + side, y + side]) / CELLS
            left, top, right, bottom = np.rint(edges * SIDE).astype(int).tolist()
            cv2.rectangle(images[row], (left, top), (right - 1, bottom - 1), colour, -1)
            boxes[name].append(edges)
    records = [Record(str(row), Path(f"{row}.png"), "a", "train", WIDTH, HEIGHT) for row in range(COUNT)]
    return Scene(records, maps.half(), images, np.stack(boxes["blue"]), np.stack(boxes["red"]))


def discover(scene: Scene, answers: Answers) -> dict[str, Rectangle]:
    return discover_rectangles(scene, scene.records, 448, 0, answers).rectangles  # type: ignore[arg-type]


def right(scene: Scene, count: int) -> dict[str, Rectangle]:
    return {str(row): scene.rectangle(scene.blue[row]) for row in range(count)}


@pytest.mark.parametrize("cut", [COUNT // 2, COUNT])
def test_without_answers_the_most_salient_object_is_found_from_so_many_cuts(cut, scene, monkeypatch):
    monkeypatch.setattr("rsam_app.training.discovery.discover.MAX_CUT", cut)
    found = discover(scene, Answers())
    assert scene.overlap(found, scene.red) > 0.7
    assert scene.overlap(found, scene.blue) < 0.1


def test_a_few_rectangles_teach_which_object_is_meant(scene):
    answers = Answers(right(scene, 6))
    found = discover(scene, answers)
    assert scene.overlap({k: r for k, r in found.items() if k not in answers.right}, scene.red) < 0.1
    assert scene.overlap(found, scene.blue) > 0.6


def test_the_reviewers_own_rectangles_stay_exact(scene):
    answers = Answers({"3": Rectangle(31.25, 40.5, 20.0, 11.0, 0.3), **right(scene, 3)})
    found = discover(scene, answers)
    assert {key: found[key] for key in answers.right} == answers.right


def test_rectangles_marked_wrong_teach_what_is_not_meant(scene):
    wrong = {str(row): scene.rectangle(scene.red[row]) for row in range(12)}
    assert scene.overlap(discover(scene, Answers(wrong=wrong)), scene.red) < 0.2


def test_answers_that_agree_with_what_was_found_do_no_harm(scene):
    agreeing = {str(row): scene.rectangle(scene.red[row]) for row in range(3)}
    before, after = (scene.overlap(discover(scene, a), scene.red) for a in (Answers(), Answers(agreeing)))
    assert after > before - 0.02


def test_what_was_located_without_answers_stays_if_they_teach_nothing(scene):
    """Rectangles without a rule: no score finds them in other images. It says the same as locating all images again."""
    untaught = learn_untaught(scene, scene.records, 448, 0)
    before = discover(scene, Answers())
    draws = np.random.default_rng(1)
    unruly = Answers({str(row): Rectangle(*draws.uniform(20, 100, 2), 30.0, 20.0, 0.0) for row in range(8)})
    again = discover_rectangles(scene, scene.records, 448, 0, unruly, untaught, before)
    assert again == discover_rectangles(scene, scene.records, 448, 0, unruly, untaught)
    marked = dict.fromkeys(before, Rectangle(1.0, 2.0, 3.0, 4.0, 0.0))
    kept = discover_rectangles(scene, scene.records, 448, 0, unruly, untaught, marked).rectangles
    assert kept == marked | dict(unruly.right)
    taught = discover_rectangles(scene, scene.records, 448, 0, Answers(right(scene, 6)), untaught, marked).rectangles
    assert scene.overlap(taught, scene.blue) > 0.6


def test_answers_about_other_images_or_off_the_image_teach_nothing(scene):
    lessons = make_lessons(Answers({"0": Rectangle(-500.0, 20.0, 9.0, 9.0, 0.0)}), scene.records, CELLS, CELLS)
    scale = feature_scale(scene.maps)
    untaught = fit_objectness(scene.maps, torch.rand(COUNT, CELLS, CELLS), scale, 0)
    trial = try_lessons(untaught, scene.maps, lessons)
    assert len(lessons.rows) == 0 and teach(untaught, scene.maps, lessons, trial, 0) is untaught
    assert discover(scene, Answers({"elsewhere": Rectangle(5, 5, 4, 4, 0)})) == discover(scene, Answers())


def test_a_right_rectangle_makes_the_wrong_one_of_its_image_superfluous(scene):
    first, second = scene.rectangle(scene.blue[0]), scene.rectangle(scene.red[1])
    lessons = make_lessons(Answers({"0": first}, {"0": second, "1": second}), scene.records, CELLS, CELLS)
    assert lessons.rows.tolist() == [0, 1] and lessons.right.tolist() == [True, False]
    assert lessons.covers.sum(dim=(1, 2)).tolist() == pytest.approx([16, 36], abs=3)  # cells of both objects
    assert lessons.targets[1].sum() == pytest.approx(36, abs=3)  # as large, but anywhere else
    assert float((lessons.targets[1] * lessons.covers[1]).sum()) == pytest.approx(0, abs=3)
    assert lessons.merits(lessons.covers).tolist() == pytest.approx([1, -1])
    imposed = lessons.impose(torch.ones(COUNT, CELLS, CELLS))
    assert float(imposed[0].sum()) == pytest.approx(16, abs=2)  # cells of the blue object
    assert float(imposed[1].sum()) == pytest.approx(CELLS**2 - 36, abs=3)
    assert bool((imposed[2:] == 1).all())


def test_a_part_that_is_less_likely_is_cut_off():
    probabilities = np.full((CELLS, CELLS), 0.1, dtype=np.float32)
    probabilities[1:4, 1:4], probabilities[8:12, 8:12] = 0.95, 0.7
    kept = focused(probabilities)
    assert kept[1:4, 1:4].min() > 0.9 and kept[8:, 8:].max() == 0


def test_the_most_likely_part_is_found_however_unlikely_it_is():
    """A difference of a millionth is lost in float32 beside a score of -50."""
    score = np.full((CELLS, CELLS), -60, dtype=np.float32)
    score[2:4, 5:8] = -50
    assert np.flatnonzero(best_part(score)).tolist() == np.flatnonzero(score == -50).tolist()


def test_equal_weights_are_not_needed_and_heavy_ones_count(scene):
    """Two images contradict all others about the object: with most of the weight they win."""
    masks = torch.zeros(COUNT, CELLS, CELLS)
    for row, (left, top, right_, bottom) in enumerate((scene.red * CELLS).round().astype(int)):
        masks[row, top:bottom, left:right_] = 1
    for row in (0, 1):
        left, top, right_, bottom = (scene.blue[row] * CELLS).round().astype(int)
        masks[row] = 0
        masks[row, top:bottom, left:right_] = 1
    weights = torch.full((COUNT,), 0.01)
    weights[:2] = 10
    scale = feature_scale(scene.maps)
    assert float(fit_objectness(scene.maps, masks, scale, 0).weight[:2].argmax()) == 0
    assert float(fit_objectness(scene.maps, masks, scale, 0, weights).weight[:2].argmax()) == 1
