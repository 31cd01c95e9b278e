"""The whole simulation of a dataset's features: every strategy and seed, its files, and what they say."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.selection.simulation.rounds import Oracle, simulate
from rsam_app.selection.simulation.summary import summarise
from rsam_app.selection.strategies import find_strategy
from rsam_app.selection.strategy import Strategy
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint, write_atomically


class Cells:
    """Finished cells of one setting in a JSON-lines file; cells of other settings in it are left alone."""

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self.setting = path, setting

    def read(self) -> list[dict[str, Any]]:
        """The cells of this setting. A last line that a kill left half-written is cut off.

        Raises `UserError` where another line is damaged."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_atomically(self.path, whole)
        found = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                cell = json.loads(line)
                mine = cell["setting"] == self.setting
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{self.path}, line {number}: is damaged. Remove the line, or the file.") from error
            if mine:
                found.append(cell)
        return found

    def add(self, **cell: Any) -> None:
        """Append a finished cell."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"setting": self.setting, **cell}) + "\n")


CLASSIFIER = "logistic regression, strength 1, vectors of length 10"
VERSION = 3
"""Raise it when a strategy starts to choose others, so that finished cells of before are not mixed with new ones."""

NEEDS_A_RUN = ("misattention", "uncertain_attention", "suspect_label")


@dataclass(frozen=True)
class Plan:
    """What to simulate."""

    strategies: tuple[str, ...]
    rounds: int = 8
    start: int = 50
    """Labels before the first round, chosen by the strategy too."""
    budget: int = 50
    seeds: int = 10
    pool_share: float = 0.9
    """Share of the pool that a seed sees: what varies where a strategy draws nothing at random."""

    def chosen(self) -> list[Strategy]:
        """Its strategies. Raises `UserError` for a plan that cannot be carried out on any images."""
        for name, value in (("rounds", self.rounds), ("start", self.start), ("budget", self.budget)):
            if value < (0 if name == "rounds" else 1):
                raise UserError(f"simulate: {name} is {value}, expected at least {0 if name == 'rounds' else 1}.")
        if self.seeds < 1 or not 0 < self.pool_share <= 1:
            raise UserError("simulate: expected at least one seed, and a pool share in (0, 1].")
        found = [find_strategy(name) for name in self.strategies]
        for strategy in found:
            if strategy.name in NEEDS_A_RUN:
                raise UserError(
                    f"simulate {strategy.name}: works on what a trained run says about given labels and rectangles, and"
                    " an oracle that labels cached features has neither.\nLeave it out; `--noise` measures suspect"
                    " labels."
                )
        return found

    def require_images(self, images: int) -> None:
        """Raise `UserError` where a pool of so many does not do."""
        wanted, available = self.start + self.rounds * self.budget, round(self.pool_share * images)
        if wanted > available:
            raise UserError(
                f"simulate: {self.rounds} rounds of {self.budget} after {self.start} are {wanted} labels, and a seed's"
                f" pool has {available} images.\nTake fewer rounds, or a smaller --budget or --start."
            )


def simulate_all(
    oracle: Oracle, made_from: str, plan: Plan, folder: Path, title: str, advance: Callable[[int], object]
) -> dict[str, Any]:
    """Simulate every strategy and seed that is not done yet, write `folder`'s files, and return the summary.

    `cells.jsonl` holds every curve, `curves.csv` and `curves.png` their means with intervals, `summary.json` all
    figures. `made_from` identifies features and labels. Raises `UserError`.
    """
    strategies = plan.chosen()
    plan.require_images(len(oracle.points))
    shared = {key: value for key, value in asdict(plan).items() if key not in ("strategies", "seeds")}
    labelled = hashlib.sha256(oracle.labels.tobytes() + oracle.test_labels.tobytes()).hexdigest()
    cells = Cells(folder / "cells.jsonl", fingerprint(VERSION, made_from, labelled, CLASSIFIER, shared))
    done = {(cell["strategy"], cell["seed"]): cell["accuracy"] for cell in cells.read()}
    for seed in range(plan.seeds):
        part = oracle.part(plan.pool_share, seed)
        if ("all labels", seed) not in done:
            same = done.get(("all labels", 0)) if plan.pool_share == 1 else None  # every seed has the same images
            done["all labels", seed] = same or [part.accuracy(np.arange(len(part.points)))[0]]
            cells.add(strategy="all labels", seed=seed, accuracy=done["all labels", seed])
        for strategy in strategies:
            if (strategy.name, seed) not in done:
                curve = simulate(part, strategy, plan.rounds, plan.start, plan.budget, seed)
                done[strategy.name, seed] = curve
                cells.add(strategy=strategy.name, seed=seed, accuracy=curve)
            advance(1)
    names = list(dict.fromkeys(strategy.name for strategy in strategies))
    curves = {name: {seed: done[name, seed] for seed in range(plan.seeds)} for name in names}
    labels = [plan.start + step * plan.budget for step in range(plan.rounds + 1)]
    full = {seed: done["all labels", seed][0] for seed in range(plan.seeds)}
    summary = {"plan": asdict(plan), "classifier": CLASSIFIER, **summarise(curves, labels, full)}
    _write(folder, summary, title)
    return summary


def table(summary: dict[str, Any]) -> str:
    """The summary for a terminal: a line per strategy, best first."""
    lines = [f"{'strategy':18} {'mean accuracy':>16} {'labels to 90 %':>15} {'minus random':>24}"]
    ordered: Sequence[tuple[str, Any]] = sorted(summary["strategies"].items(), key=lambda item: -item[1]["area"])
    for name, found in ordered:
        area = f"{found['area']:.3f} ± {found['area_interval']:.3f}"
        reached = found["labels_to_target"]
        against = found["minus_random"]
        gain = "" if against is None else f"{against['mean']:+.3f} (p = {against['p']:.2g})"
        lines.append(f"{name:18} {area:>16} {'not reached' if reached is None else f'{reached:.0f}':>15} {gain:>24}")
    lines.append(f"accuracy with all labels: {summary['full_accuracy']:.3f}")
    return "\n".join(lines)


def _write(folder: Path, summary: dict[str, Any], title: str) -> None:
    from rsam_app.selection.simulation.summary import draw_curves

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["strategy", "labels", "accuracy", "low", "high", "seeds"])
    for name, found in summary["strategies"].items():
        for labels, mean, reach in zip(summary["labels"], found["accuracy"], found["interval"], strict=True):
            writer.writerow([name, labels, *(f"{v:.5f}" for v in (mean, mean - reach, mean + reach)), found["seeds"]])
    write_atomically(folder / "curves.csv", text.getvalue())
    write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    partial = folder / "curves.png.partial"
    partial.write_bytes(draw_curves(summary, title))
    os.replace(partial, folder / "curves.png")
