"""Rolled-up answers against a plain loop over the nodes, and the way of a taxonomy through a saved model."""

from __future__ import annotations

import numpy as np
import pytest
import timm

from rsam_app.config import ModelConfig, Taxonomy
from rsam_app.model import build_model, load_model, save_model
from rsam_app.model.fitted import save_fitted
from rsam_app.model.roll_up import RollUp, Sure, roll_up

BIRDS = Taxonomy(
    ("class", "genus", "family"),
    (
        ("raven", "jay", "crow", "auk"),
        ("Corvus", "Garrulus", "Corvus", "Alca"),
        ("Corvidae", "Corvidae", "Corvidae", "Alcidae"),
    ),
)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.9, 0.02, 0.05, 0.03], ("class", "raven", 0.9)),
        ([0.5, 0.02, 0.45, 0.03], ("genus", "Corvus", 0.95)),
        ([0.3, 0.4, 0.25, 0.05], ("family", "Corvidae", 0.95)),
        ([0.3, 0.2, 0.1, 0.4], None),
        ([0.0, 0.0, 0.0, 1.0], ("class", "auk", 1.0)),
    ],
)
def test_the_finest_sure_level_is_given(probabilities, expected) -> None:
    (sure,) = roll_up(np.array([probabilities]), BIRDS, 0.8)
    assert sure == (expected and (*expected[:2], pytest.approx(expected[2])))


def test_a_node_can_be_sure_without_the_most_probable_class() -> None:
    assert roll_up(np.array([[0.3, 0.2, 0.15, 0.35]]), BIRDS, 0.6) == [Sure("family", "Corvidae", pytest.approx(0.65))]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_it_agrees_with_a_loop_over_all_nodes(threshold: float) -> None:
    generator = np.random.default_rng(0)
    genera = [f"g{i}" for i in generator.integers(0, 6, 20)]
    families = [f"f{int(genus[1:]) // 2}" for genus in genera]
    taxonomy = Taxonomy(("class", "genus", "family"), (tuple(map(str, range(20))), tuple(genera), tuple(families)))
    probabilities = generator.dirichlet(np.full(20, 0.1), size=1000)
    answers = roll_up(probabilities, taxonomy, threshold)
    assert {answer and answer.level for answer in answers} == {"class", "genus", "family", None}
    for row, answer in zip(probabilities, answers, strict=True):
        expected = None
        for level, nodes in reversed(list(zip(taxonomy.levels, taxonomy.nodes, strict=True))):
            for node in set(nodes):
                share = sum(p for p, above in zip(row, nodes, strict=True) if above == node)
                if share >= threshold:
                    expected = (level, node, pytest.approx(share))
        assert answer == expected


def test_a_saved_roll_up_is_loaded_by_us_and_by_timm_and_kept_when_saved_again(tmp_path) -> None:
    model = build_model(ModelConfig(backbone="test_resnet", weights="none", image_size=96), BIRDS.classes)
    assert model.roll_up is None
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model").roll_up is None
    fitted = RollUp(BIRDS, 0.8, 0.95)
    save_fitted(tmp_path / "model", roll_up=fitted.as_json())
    assert load_model(tmp_path / "model").roll_up == fitted
    assert timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).roll_up == fitted
    save_model(load_model(tmp_path / "model"), tmp_path / "again")
    assert load_model(tmp_path / "again").roll_up == fitted
