"""Simulate every strategy and seed on a dataset's features; finished cells are kept, so a simulation resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.selection.simulation.rounds import Oracle, simulate
from rsam_app.selection.simulation.summary import summarise, write_summary
from rsam_app.selection.strategies import find_strategy
from rsam_app.selection.strategy import Strategy
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint, sha256_of, write_atomically
from rsam_app.system.json_files import parse_json
from rsam_app.system.versions import SIMULATION

CLASSIFIER = "logistic regression, strength 1, vectors of length 10"
NEEDS_A_RUN = ("misattention", "uncertain_attention", "suspect_label")
"""Strategies that cannot be simulated."""
_ALL_LABELS = "all labels"


@dataclass(frozen=True)
class Plan:
    """The strategies, rounds and seeds to simulate."""

    strategies: tuple[str, ...]
    rounds: int = 8
    start: int = 50
    """Labels before the first round, also chosen by the strategy."""
    budget: int = 50
    seeds: int = 10
    pool_share: float = 0.9
    """Share of the pool that each seed chooses from: the spread of strategies that draw nothing at random."""

    def find_strategies(self) -> list[Strategy]:
        """Return its strategies. Raises `UserError` for a plan that cannot be simulated on any images."""
        for name, value, least in (("rounds", self.rounds, 0), ("start", self.start, 1), ("budget", self.budget, 1)):
            if value < least:
                raise UserError(f"simulate: {name} is {value}, expected at least {least}.")
        if self.seeds < 1 or not 0 < self.pool_share <= 1:
            raise UserError("simulate: expected at least one seed, and a pool share in (0, 1].")
        strategies = [find_strategy(name) for name in self.strategies]
        for strategy in strategies:
            if strategy.name in NEEDS_A_RUN:
                raise UserError(
                    f"simulate {strategy.name}: needs a trained run's scores of given labels and rectangles, and an"
                    " oracle that labels cached features has neither.\nOmit it; `--noise` measures suspect labels."
                )
        return strategies

    def require_images(self, images: int) -> None:
        """Raise `UserError` if a pool of so many images is too small."""
        needed, available = self.start + self.rounds * self.budget, round(self.pool_share * images)
        if needed > available:
            raise UserError(
                f"simulate: {self.rounds} rounds of {self.budget} after {self.start} are {needed} labels, and a seed's"
                f" pool has {available} images.\nUse fewer rounds, or a smaller --budget or --start."
            )


class Cells:
    """Finished cells of one setting in a JSON Lines file; cells of other settings in it stay."""

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self.setting = path, setting

    def read(self) -> list[dict[str, Any]]:
        """Return the cells of this setting, and remove a last line that an interrupted write left incomplete.

        Raises `UserError` if another line is damaged."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8", errors="replace")
        complete = text[: text.rfind("\n") + 1]
        if complete != text:
            write_atomically(self.path, complete)
        cells = []
        for number, line in enumerate(complete.splitlines(), start=1):
            try:
                cell = parse_json(line)
                matches = cell["setting"] == self.setting
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise UserError(f"{self.path}, line {number}: is damaged. Remove the line, or the file.") from error
            if matches:
                cells.append(cell)
        return cells

    def add(self, **cell: Any) -> None:
        """Append a finished cell."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"setting": self.setting, **cell}) + "\n")


def simulate_all(
    oracle: Oracle, made_from: str, plan: Plan, folder: Path, title: str, advance: Callable[[int], object]
) -> dict[str, Any]:
    """Simulate every unfinished strategy and seed, write the files of `folder`, and return the summary.

    `cells.jsonl` has every curve, `curves.csv` and `curves.png` their means with intervals, `summary.json` all figures.
    `made_from` identifies features and labels. Raises `UserError`.
    """
    strategies = plan.find_strategies()
    plan.require_images(len(oracle.points))
    shared = {key: value for key, value in asdict(plan).items() if key not in ("strategies", "seeds")}
    labels_hash = sha256_of(oracle.labels.tobytes() + oracle.test_labels.tobytes())
    cells = Cells(folder / "cells.jsonl", fingerprint(SIMULATION, made_from, labels_hash, CLASSIFIER, shared))
    kept = {(cell["strategy"], cell["seed"]): cell for cell in cells.read()}
    done = {key: cell["accuracy"] for key, cell in kept.items()}
    suggested = {key: cell["suggested"] for key, cell in kept.items() if "suggested" in cell}
    for seed in range(plan.seeds):
        part = oracle.part(plan.pool_share, seed)
        if (_ALL_LABELS, seed) not in done:
            same = done.get((_ALL_LABELS, 0)) if plan.pool_share == 1 else None  # every seed has the same images
            done[_ALL_LABELS, seed] = same or [part.accuracy(np.arange(len(part.points)))[0]]
            cells.add(strategy=_ALL_LABELS, seed=seed, accuracy=done[_ALL_LABELS, seed])
        for strategy in strategies:
            if (strategy.name, seed) not in done:
                found = simulate(part, strategy, plan.rounds, plan.start, plan.budget, seed)
                done[strategy.name, seed], suggested[strategy.name, seed] = found.accuracy, found.suggested
                cells.add(strategy=strategy.name, seed=seed, accuracy=found.accuracy, suggested=found.suggested)
            advance(1)
    names = list(dict.fromkeys(strategy.name for strategy in strategies))
    curves = {name: {seed: done[name, seed] for seed in range(plan.seeds)} for name in names}
    labels = [plan.start + step * plan.budget for step in range(plan.rounds + 1)]
    full = {seed: done[_ALL_LABELS, seed][0] for seed in range(plan.seeds)}
    summary = {"plan": asdict(plan), "classifier": CLASSIFIER, **summarise(curves, labels, full)}
    for name in names:
        shares = np.mean([suggested[name, seed] for seed in range(plan.seeds)], axis=0)
        summary["strategies"][name]["suggested"] = shares.tolist()
    write_summary(folder, summary, title)
    return summary
