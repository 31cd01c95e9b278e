"""Make a selection: choose by a strategy, then write the queue to review and a manifest that reproduces it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.data.records import UNLABELLED
from rsam_app.run.folder import RunFolder
from rsam_app.selection.limits import Limits, choose_within
from rsam_app.selection.pool import Pool, cover_labelled, load_pool
from rsam_app.selection.strategies import find_strategy
from rsam_app.selection.strategy import Choice, Strategy
from rsam_app.system.errors import UserError
from rsam_app.system.files import sha256_of, write_atomically
from rsam_app.system.json_files import read_json
from rsam_app.system.spreadsheets import csv_cell


@dataclass(frozen=True)
class Selection:
    """The chosen records, best first, and everything needed to reproduce the choice."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    """Score of each id as the strategy defines it; NaN if it has none, infinite for the first of `k_center`."""
    strategy: str
    budget: int
    split: str
    seed: int
    fingerprint: str
    """SHA-256 of the pool it was chosen from."""
    notes: tuple[str, ...]
    """For the user: records without a score, a budget larger than the pool, records left out."""
    csv: Path
    manifest: Path


def select(
    run: RunFolder,
    strategy: str,
    budget: int,
    split: str,
    seed: int,
    *,
    exclude: Collection[str] = frozenset(),
    absent: Collection[str] = frozenset(),
    limits: Limits = Limits(),
) -> Selection:
    """Choose `budget` records of a split by a strategy's name and write them to `RUN/selection/`.

    Writes a CSV file, best first: rank, id, path, split, label, predicted, score, further numbers, the suggested label
    with its probability if it differs from the given one, and a reason in plain words; and a JSON manifest of the same
    name. The name contains the pool's fingerprint, so a later round does not overwrite an earlier one, and repeating a
    selection writes the same bytes. Records in `exclude` (reviewed already) are left out; strategies that use
    embeddings count them as covered. Records in `absent`, which cannot be reviewed, are left out, too. `limits` apply
    to every strategy.

    Raises `UserError` for an unknown strategy, a budget below 1, missing predictions or an empty pool.
    """
    method = find_strategy(strategy)
    pool = _load_pool_for(run, method, split, limits)
    return select_from(run, pool, method, budget, split, seed, exclude=exclude, absent=absent, limits=limits)


def select_from(
    run: RunFolder,
    pool: Pool,
    strategy: Strategy,
    budget: int,
    split: str,
    seed: int,
    *,
    exclude: Collection[str] = frozenset(),
    absent: Collection[str] = frozenset(),
    limits: Limits = Limits(),
    expected: Sequence[str] | None = None,
    features: str | None = None,
) -> Selection:
    """Select from a loaded pool, as `select` does; `split` is only its name.

    If other ids than `expected` are chosen, nothing is written and `UserError` is raised. `features` is the hash of the
    features that the pool's embeddings come from, if they are not a run's predictions.
    """
    reviewed, excluded = (sorted(left_out & set(pool.ids)) for left_out in (set(exclude), {*exclude, *absent}))
    if excluded:
        pool = pool.without(set(excluded))
    choice = choose_within(strategy, pool, budget, np.random.default_rng(seed), limits)
    ids = tuple(pool.ids[i] for i in choice.indices)
    if expected is not None and ids != tuple(expected):
        raise UserError(
            f"select {strategy.name}: {len(set(expected) - set(ids))} of the {len(expected)} records in the manifest"
            " would not be chosen now, or in another order: another version of rsam wrote it.\n"
            "Use the CSV file beside the manifest, which lists them, or make a new selection."
        )
    notes = choice.notes
    if reviewed:
        notes = (f"{len(reviewed)} records were left out because they were reviewed already", *notes)
    stem = f"{strategy.name}-{budget}-{split}-seed{seed}{_limits_suffix(limits)}-{pool.fingerprint[:8]}"
    selection = Selection(
        ids=ids,
        scores=tuple(float(s) for s in choice.scores),
        strategy=strategy.name,
        budget=budget,
        split=split,
        seed=seed,
        fingerprint=pool.fingerprint,
        notes=notes,
        csv=run.selection / f"{stem}.csv",
        manifest=run.selection / f"{stem}.json",
    )
    origin = {"features_sha256": features} if features else {"model_sha256": _model_hash(run)}
    write_atomically(selection.csv, _queue(pool, choice, strategy))
    write_atomically(selection.manifest, _manifest(selection, strategy, pool, excluded, limits, origin))
    return selection


def replay(run: RunFolder, manifest: Path) -> Selection:
    """Repeat the selection of a manifest from the same pool: the same ids.

    Raises `UserError` if the manifest cannot be read, the run's predictions have changed since, or the strategy now
    chooses other records.
    """
    try:
        recorded: dict[str, Any] = read_json(manifest)
        name, budget, split, seed = (recorded[key] for key in ("strategy", "budget", "split", "seed"))
        excluded, fingerprint = set(recorded["excluded"]), recorded["pool"]["fingerprint"]
        limits, ids = Limits(**recorded.get("limits", {})), [str(record_id) for record_id in recorded["ids"]]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise UserError(
            f"{manifest}: not a selection's manifest ({error!r}). Give a JSON file of RUN/selection."
        ) from error
    if "features_sha256" in recorded:
        raise UserError(
            f"{manifest}: was made by `rsam select-first`, before there was a model.\n"
            "Rerun that command with the same strategy, budget and seed: it chooses the same images."
        )
    try:
        strategy = find_strategy(name)
    except UserError as error:
        raise UserError(f"{manifest}: {error}") from error
    pool = _load_pool_for(run, strategy, split, limits)
    if pool.without(excluded).fingerprint != fingerprint:
        raise UserError(
            f"{manifest}: the predictions of {run.path} have changed since this selection was made.\n"
            "Make a new selection, or restore the earlier predictions."
        )
    return select_from(run, pool, strategy, budget, split, seed, exclude=excluded, limits=limits, expected=ids)


def _load_pool_for(run: RunFolder, strategy: Strategy, split: str, limits: Limits) -> Pool:
    needed = strategy.needs_embeddings or limits.near_duplicates is not None
    pool = load_pool(run, split, embeddings=needed)
    if not needed and strategy.needs_embeddings_unlabelled and not (pool.label_indices >= 0).any():
        pool = load_pool(run, split, embeddings=True)
    return cover_labelled(pool, run) if split == UNLABELLED else pool


def _limits_suffix(limits: Limits) -> str:
    per_class = "" if limits.per_class is None else f"-per_class{limits.per_class}"
    return per_class + ("" if limits.near_duplicates is None else f"-near{limits.near_duplicates:g}")


def _queue(pool: Pool, choice: Choice, strategy: Strategy) -> str:
    score_columns = sorted(pool.scores)
    header = ["rank", "id", "path", "split", "label", "predicted", "score", "confidence", "margin", "entropy"]
    numbers = [pool.confidence, pool.margin, pool.entropy, *(pool.scores[name] for name in score_columns)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *score_columns, "suggested", "suggested_probability", "reason"])
    reasons = strategy.reasons(pool, choice)
    for number, (i, score, reason) in enumerate(zip(choice.indices, choice.scores, reasons, strict=True), start=1):
        names = map(csv_cell, [pool.ids[i], pool.paths[i], pool.splits[i], pool.labels[i], pool.predicted[i]])
        suggested, chance = _suggestion(pool, int(i))
        values = [_number(value) for value in (score, *(column[i] for column in numbers))]
        writer.writerow([number, *names, *values, csv_cell(suggested), chance, csv_cell(reason)])
    return text.getvalue()


def _suggestion(pool: Pool, i: int) -> tuple[str, str]:
    """Return the suggested label and its probability; empty if it is the given label."""
    suggested = int(pool.belief.suggested[i])
    if suggested < 0 or suggested == pool.label_indices[i]:
        return "", ""
    return pool.class_name(suggested), _number(float(pool.belief.chance[i]))


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _manifest(
    selection: Selection,
    strategy: Strategy,
    pool: Pool,
    excluded: list[str],
    limits: Limits,
    origin: Mapping[str, str | None],
) -> str:
    content = {
        "strategy": selection.strategy,
        "source": strategy.source,
        "budget": selection.budget,
        "split": selection.split,
        "seed": selection.seed,
        "limits": vars(limits),
        "pool": {"records": len(pool), "fingerprint": selection.fingerprint},
        **origin,
        "excluded": excluded,
        "notes": selection.notes,
        "ids": selection.ids,
        "scores": [score if math.isfinite(score) else None for score in selection.scores],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _model_hash(run: RunFolder) -> str | None:
    weights = run.model / "model.safetensors"
    return sha256_of(weights) if weights.is_file() else None
