"""Find cards and pipelines by name or path, read them, and apply `--set` overrides."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rsam_app.config.card import Card
from rsam_app.config.pipeline import Pipeline
from rsam_app.config.validation import YAML_ERRORS, parse_yaml, place_of, read_mapping, validate
from rsam_app.system.errors import UserError, suggest
from rsam_app.system.paths import is_file, misread

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SHIPPED = Path(__file__).resolve().parent / "shipped"
"""The cards and pipelines of this package: links in the repository, files in an installed package."""


def find_pipeline(reference: str | Path) -> Path:
    """The file of a pipeline given by path, or by its name in `pipelines/`. Raises `UserError`."""
    return _find(str(reference), "pipelines")


def load_pipeline(reference: str | Path, overrides: list[str] | None = None) -> Pipeline:
    """Load a pipeline given by path, or by its name in `pipelines/`, with `key.sub=value` overrides.

    Raises `UserError` that names file, key, value and remedy.
    """
    path = find_pipeline(reference)
    content = read_mapping(path)
    content.setdefault("name", path.stem)
    for override in overrides or []:
        _override(content, override)
    pipeline = validate(Pipeline, content, path, overrides or [])
    place = place_of("dataset", path, overrides or [])
    return pipeline.model_copy(update={"dataset": str(_find(pipeline.dataset, "datasets", near=path, place=place))})


def validated_pipeline(content: dict[str, Any], where: str) -> Pipeline:
    """The pipeline of `content`, whose dataset is a card's path or name. Raises `UserError`, named by `where`."""
    pipeline = validate(Pipeline, content, Path(where))
    return pipeline.model_copy(update={"dataset": str(_find(pipeline.dataset, "datasets", place=where))})


def apply_overrides(pipeline: Pipeline, overrides: list[str], path: Path) -> Pipeline:
    """`pipeline`, read from `path`, with `key.sub=value` overrides. Raises `UserError`."""
    content = pipeline.model_dump(mode="json")
    for override in overrides:
        _override(content, override)
    return validate(Pipeline, content, path, overrides)


def load_card(reference: str | Path, place: str = "") -> Card:
    """Load a card given by path, or by its name in `datasets/`; `place` names the file that gives the reference. Raises
    `UserError` as `load_pipeline`."""
    path = _find(str(reference), "datasets", place=place)
    card = validate(Card, read_mapping(path), path)
    beside = path.parent / card.taxonomy
    if card.taxonomy_path is None or is_file(card.taxonomy_path) or not is_file(beside):
        return card
    return card.model_copy(update={"taxonomy": str(beside)})


def read_pipeline(path: Path) -> Pipeline:
    """Read a complete pipeline, such as a run's `config.yaml`. Raises `UserError` as `load_pipeline`."""
    return validate(Pipeline, read_mapping(path), path)


def known_names(folder: str) -> list[str]:
    """The names in `pipelines` or `datasets`: those of the working folder and those of this package."""
    return _names([Path(folder), SHIPPED / folder])


def _names(folders: Iterable[Path]) -> list[str]:
    return sorted({path.stem for folder in folders for path in folder.glob("[!.]*.yaml")})


def _find(reference: str, folder: str, near: Path | None = None, place: str = "") -> Path:
    direct = Path(os.path.expanduser(reference))
    own = near if near and not near.is_relative_to((SHIPPED / "pipelines").resolve()) else None
    if direct.suffix in (".yaml", ".yml"):
        around = [direct, near.parent / direct] if near else [direct]
        candidates = [*around, SHIPPED / direct]
    else:
        beside = [own.resolve().parent.parent / folder] if own else []
        candidates = [f / f"{reference}.yaml" for f in (*beside, Path(folder), SHIPPED / folder)]
    for candidate in candidates:
        if is_file(candidate):
            return candidate.resolve()
    known = _names({candidate.parent for candidate in candidates})
    key = f"{place}: dataset: " if place else ""
    remedy = misread(reference) or suggest(reference, known)
    raise UserError(f"{key}{reference}: no such file, and no such name in {folder}/.{remedy}")


def _override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: expected key.sub=value, e.g. --set train.epochs=3")
    *parents, last = key.split(".")
    for parent in parents:
        inner = content.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {override}: {parent} is a value and has no keys below it.")
        content = inner
    try:
        content[last] = parse_yaml(text)
    except YAML_ERRORS as error:
        raise UserError(f"--set {override}: {text!r} is not a YAML value. Put quotes around a text.") from error
