"""One selection: choose by a strategy, write the queue a person works through, and keep how it came about."""

from __future__ import annotations

import csv
import hashlib
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
from rsam_app.selection.pool import Pool, beside_labelled, load_pool
from rsam_app.selection.strategies import find_strategy
from rsam_app.selection.strategy import Choice, Strategy
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically


@dataclass(frozen=True)
class Selection:
    """What was chosen, best first, and all that is needed to choose it again."""

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    """Score of each id as the strategy defines it; NaN where it has none, infinite for k-center's first."""
    strategy: str
    budget: int
    split: str
    seed: int
    fingerprint: str
    """SHA-256 of the pool it was chosen from."""
    notes: tuple[str, ...]
    """What the person should know: records without a score, a budget larger than the pool, records left out."""
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
    limits: Limits = Limits(),
    expected: Sequence[str] | None = None,
) -> Selection:
    """Choose `budget` records of a split by a strategy's name and write them below `RUN/selection/`.

    A CSV (best first: rank, id, path, split, label, predicted, score, further numbers, the label suggested where it is
    another than the given and its probability, reason in plain words) and a JSON manifest of the same name. The name
    holds the pool's fingerprint, so a later round never overwrites an earlier one, and the same selection twice writes
    the same bytes. Records in `exclude` (a person saw them already) are left out; strategies that look at embeddings
    count them as covered. `limits` hold for every strategy. Nothing is written where others than the `expected` ids
    would be chosen.

    Raises `UserError` for an unknown strategy, a budget below 1, missing predictions, an empty pool, or ids that are
    not the expected ones.
    """
    chosen_by = find_strategy(strategy)
    whole = _pool_for(run, chosen_by, split, limits)
    return select_from(run, whole, chosen_by, budget, split, seed, exclude=exclude, limits=limits, expected=expected)


def select_from(
    run: RunFolder,
    whole: Pool,
    chosen_by: Strategy,
    budget: int,
    split: str,
    seed: int,
    *,
    exclude: Collection[str] = frozenset(),
    limits: Limits = Limits(),
    expected: Sequence[str] | None = None,
    features: str | None = None,
) -> Selection:
    """As `select`, from a pool at hand: `split` is only what it is called. `features` is the hash of what the pool's
    embeddings were made from, where that is no run's predictions."""
    excluded = sorted(set(exclude) & set(whole.ids))
    pool = whole.without(set(excluded)) if excluded else whole
    choice = choose_within(chosen_by, pool, budget, np.random.default_rng(seed), limits)
    ids = tuple(pool.ids[i] for i in choice.indices)
    if expected is not None and ids != tuple(expected):
        raise UserError(
            f"select {chosen_by.name}: {len(set(expected) - set(ids))} of the {len(expected)} records in the manifest"
            " would not be chosen now, or in another order: it was written by a version of rsam that chose otherwise.\n"
            "The CSV file beside the manifest still lists them; or select anew."
        )
    notes = choice.notes
    if excluded:
        notes = (f"{len(excluded)} records were left out because a person decided about them already", *notes)
    stem = f"{chosen_by.name}-{budget}-{split}-seed{seed}{_limited(limits)}-{pool.fingerprint[:8]}"
    selection = Selection(
        ids=ids,
        scores=tuple(float(s) for s in choice.scores),
        strategy=chosen_by.name,
        budget=budget,
        split=split,
        seed=seed,
        fingerprint=pool.fingerprint,
        notes=notes,
        csv=run.selection / f"{stem}.csv",
        manifest=run.selection / f"{stem}.json",
    )
    origin = {"features_sha256": features} if features else {"model_sha256": _model_hash(run)}
    write_atomically(selection.csv, _queue(pool, choice, chosen_by))
    write_atomically(selection.manifest, _manifest(selection, chosen_by, pool, excluded, limits, origin))
    return selection


def replay(run: RunFolder, manifest: Path) -> Selection:
    """The selection of a manifest, chosen again from the same pool: the same ids.

    Raises `UserError` where the manifest cannot be read, the run's predictions are no longer those it was made from, or
    the strategy has become another since.
    """
    try:
        kept: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        arguments = {key: kept[key] for key in ("strategy", "budget", "split", "seed")}
        excluded, fingerprint = set(kept["excluded"]), kept["pool"]["fingerprint"]
        limits, ids = Limits(**kept.get("limits", {})), [str(record_id) for record_id in kept["ids"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{manifest}: not a selection's manifest ({error!r}). Give a JSON file of RUN/selection."
        ) from error
    if "features_sha256" in kept:
        raise UserError(
            f"{manifest}: was chosen before there was a model, by `rsam select-first`.\n"
            "Give that command again with the same strategy, budget and seed; the same images are chosen from the same."
        )
    chosen_by = find_strategy(arguments["strategy"])
    pool = _pool_for(run, chosen_by, arguments["split"], limits)
    if pool.without(excluded).fingerprint != fingerprint:
        raise UserError(
            f"{manifest}: {run.path} has other predictions now than this selection was made from.\n"
            "Select anew, or bring back the predictions of that time."
        )
    return select(run, **arguments, exclude=excluded, limits=limits, expected=ids)


def _pool_for(run: RunFolder, strategy: Strategy, split: str, limits: Limits) -> Pool:
    needed = strategy.needs_embeddings or limits.near_duplicates is not None
    pool = load_pool(run, split, embeddings=needed)
    if not needed and strategy.needs_embeddings_unlabelled and not (pool.label_indices >= 0).any():
        pool = load_pool(run, split, embeddings=True)
    return pool if split != UNLABELLED else beside_labelled(pool, run)


def _limited(limits: Limits) -> str:
    per_class = "" if limits.per_class is None else f"-per_class{limits.per_class}"
    return per_class + ("" if limits.near_duplicates is None else f"-near{limits.near_duplicates:g}")


def _queue(pool: Pool, choice: Choice, strategy: Strategy) -> str:
    score_columns = sorted(pool.scores)
    header = ["rank", "id", "path", "split", "label", "predicted", "score", "confidence", "margin", "entropy"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *score_columns, "suggested", "suggested_probability", "reason"])
    reasons = strategy.reasons(pool, choice)
    for number, (i, score, reason) in enumerate(zip(choice.indices, choice.scores, reasons, strict=True), start=1):
        names = [pool.ids[i], pool.paths[i], pool.splits[i], pool.labels[i], pool.predicted[i]]
        columns = [
            score,
            pool.confidence[i],
            pool.margin[i],
            pool.entropy[i],
            *(pool.scores[s][i] for s in score_columns),
        ]
        writer.writerow([number, *names, *(_number(c) for c in columns), *_suggestion(pool, int(i)), reason])
    return text.getvalue()


def _suggestion(pool: Pool, i: int) -> tuple[str, str]:
    """The label that is believed instead of the given one and its probability; empty where it is the given one."""
    suggested = int(pool.belief.suggested[i])
    if suggested < 0 or suggested == pool.label_indices[i]:
        return "", ""
    return pool.class_name(suggested), _number(float(pool.belief.chance[i]))


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _manifest(
    made: Selection,
    strategy: Strategy,
    pool: Pool,
    excluded: list[str],
    limits: Limits,
    origin: Mapping[str, str | None],
) -> str:
    content = {
        "strategy": made.strategy,
        "source": strategy.source,
        "budget": made.budget,
        "split": made.split,
        "seed": made.seed,
        "limits": vars(limits),
        "pool": {"records": len(pool), "fingerprint": made.fingerprint},
        **origin,
        "excluded": excluded,
        "notes": made.notes,
        "ids": made.ids,
        "scores": [score if math.isfinite(score) else None for score in made.scores],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _model_hash(run: RunFolder) -> str | None:
    weights = run.model / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
