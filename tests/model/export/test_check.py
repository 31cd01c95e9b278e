"""The comparison of outputs: independent of a rectangle's notation, sensitive to everything else."""

from __future__ import annotations

import math

import pytest
import torch

from rsam_app.model import load_model
from rsam_app.model.export.check import compare, determined_images, distances, random_images
from rsam_app.model.export.deployed import DeployedModel


def rectangles(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows)


def test_notations_of_one_rectangle_do_not_differ():
    upright = rectangles((10, 20, 8, 4, math.pi / 2 - 1e-6), (10, 20, 8, 4, 0.3), (10, 20, 6, 6, 0.2))
    other = rectangles((10, 20, 8, 4, -math.pi / 2), (10, 20, 4, 8, 0.3 - math.pi / 2), (10, 20, 6, 6, -0.9))
    assert distances("rectangle", other, upright).tolist() == pytest.approx([0, 0, 0], abs=1e-4)


@pytest.mark.parametrize(
    "change", [(1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 0.2)]
)
def test_each_of_the_five_numbers_counts(change):
    rectangle = rectangles((10, 20, 12, 4, 0.3))
    assert distances("rectangle", rectangle + torch.tensor(change), rectangle).item() > 0.5
    assert distances("rectangle", rectangle[:, :4], rectangle).item() == math.inf


def test_a_correct_file_agrees_and_wrong_ones_differ(runs):
    deployed = DeployedModel(load_model(runs["moments"].model)).eval()

    def run(images):
        with torch.no_grad():
            return deployed(images)

    near = compare(deployed, run, None)
    assert set(near) == {"logits", "rectangle", "probabilities"} and all(d.relative <= 1e-4 for d in near.values())
    wrong = {
        "logits": lambda images: (run(images)[0] * 1.001, *run(images)[1:]),
        "rectangle": lambda images: (run(images)[0], run(images)[1] + 0.05, run(images)[2]),
        "probabilities": lambda images: (*run(images)[:2], run(images)[2] + 0.001),
    }
    for name, broken in wrong.items():
        found = compare(deployed, broken, 3)
        assert [n for n, d in found.items() if d.relative > 1e-4] == [name]
    nothing = compare(deployed, lambda images: [torch.full_like(o, torch.nan) for o in run(images)], 1)
    assert all(d.relative == math.inf for d in nothing.values())
    forgot_to_divide = compare(deployed, lambda images: run(images * 255), 2)
    assert all(d.relative > 1e-4 for d in forgot_to_divide.values())


def test_images_whose_rectangle_hinges_on_rounding_are_replaced(runs):
    deployed = DeployedModel(load_model(runs["moments"].model)).eval()
    calls = []

    class Unsteady(DeployedModel):  # differs in float64 on the first batch
        def forward(self, images):
            calls.append(len(images))
            logits, rectangle, probabilities = super().forward(images)
            return logits, rectangle + (5 if len(calls) == 1 else 0), probabilities

    exact = Unsteady(load_model(runs["moments"].model)).eval().double()
    draws = torch.Generator().manual_seed(0)
    first = random_images(2, deployed.side, torch.Generator().manual_seed(0))
    chosen = determined_images(deployed, exact, 2, draws)
    assert len(calls) >= 2 and chosen.shape == first.shape and not torch.equal(chosen, first)
