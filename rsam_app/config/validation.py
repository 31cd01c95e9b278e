"""Read a YAML file into a typed object; an error names the wrong key and the remedy in one or two lines."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rsam_app.system.errors import UserError, suggest

Schema = TypeVar("Schema", bound=BaseModel)
YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)
"""Errors of PyYAML: also `ValueError` on an impossible date, and `RecursionError` on deep nesting."""


class Strict(BaseModel):
    """A schema that rejects unknown keys and also validates its defaults. The docstring of a key is its description."""

    model_config = ConfigDict(
        extra="forbid", validate_default=True, protected_namespaces=(), use_attribute_docstrings=True
    )


class _UniqueKeys(yaml.SafeLoader):
    """PyYAML silently keeps the last of two equal keys; here a duplicate is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As `SafeLoader`, but raise on a duplicate key."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file. Raises `UserError` if it is unreadable, not YAML, or repeats a key."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Check the file and its permissions.") from error
    except YAML_ERRORS as error:
        raise UserError(f"{path}: is not YAML: {' '.join(str(error).split())}. Fix that line.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a mapping. Expected `key: value` lines.")
    return content


def validate(schema: type[Schema], content: dict[str, Any], path: Path, overrides: Sequence[str] = ()) -> Schema:
    """`content`, read from `path` with `key.sub=value` overrides, as a `schema`.

    Raises `UserError` that names place, key, value and remedy; the place is `path`, or the `--set` that gave the key.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        grouped: dict[str, list[Any]] = {}
        for problem in error.errors():
            grouped.setdefault(_key(content, problem), []).append(problem)
        lines = [_explain(schema, key, problems, place_of(key, path, overrides)) for key, problems in grouped.items()]
        if len(lines) > 2:
            lines[1:] = [f"({len(lines) - 1} more keys are wrong.)"]
        raise UserError("\n".join(lines)) from error


def by_dotted_key(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings in nested mappings by dotted key, as `--set` names them."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= by_dotted_key(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def place_of(key: str, path: Path, overrides: Sequence[str]) -> str:
    """Where the value of a dotted `key` comes from: `--set KEY=VALUE`, the file, or both for a group of keys."""
    given = {override.partition("=")[0]: f"--set {override}" for override in overrides}
    around = [text for name, text in given.items() if f"{key}.".startswith(f"{name}.")]
    inside = [text for name, text in given.items() if name.startswith(f"{key}.") or not key]
    return around[-1] if around else " with ".join([str(path), *inside])


def _key(content: dict[str, Any], problem: Any) -> str:
    """The dotted key as the user wrote it: pydantic's locations also name the members of a union."""
    if problem["type"] in ("extra_forbidden", "missing"):
        return ".".join(map(str, problem["loc"]))
    parts: list[str] = []
    inner: Any = content
    for part in problem["loc"]:
        if not (isinstance(inner, dict) and part in inner) and not (isinstance(inner, list) and isinstance(part, int)):
            break
        inner = inner[part]
        parts.append(str(part))
    return ".".join(parts)


def _explain(schema: type[BaseModel], key: str, problems: list[Any], place: str) -> str:
    """One line on one key; a union has a problem for each of its members."""
    problem = problems[0]
    if problem["type"] == "extra_forbidden":
        known = sorted(_schema_at(schema, problem["loc"][:-1]).model_fields)
        return f"{place}: {key}: unknown key.{suggest(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"{place}: {key}: missing. Add the line `{problem['loc'][-1]}: …`."
    expected = ", or ".join(dict.fromkeys(p["msg"].removeprefix("Value error, ") for p in problems))
    remedy = ""
    if problem["type"] == "literal_error":
        allowed = problem["ctx"]["expected"].replace(" or ", ", ").split(", ")
        remedy = suggest(str(problem["input"]), [v.strip("'") for v in allowed])
    return f"{place}: {key}: {reprlib.repr(problem['input'])} is not valid: {expected}.{remedy}"


def _schema_at(schema: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    for part in location:
        annotation = schema.model_fields[str(part)].annotation if str(part) in schema.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            schema = annotation
    return schema
