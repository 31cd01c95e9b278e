"""Read a YAML file into a typed object; an error names the wrong key and the remedy in one or two lines."""

from __future__ import annotations

import math
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rsam_app.system.errors import UserError, suggest

Schema = TypeVar("Schema", bound=BaseModel)
YAML_ERRORS = (yaml.YAMLError, ValueError)
"""Errors of `parse_yaml`: also `ValueError` on an impossible date."""
LARGEST_FILE = 2**20
"""Bytes of a card or a pipeline at most."""
MOST_NODES = 10_000
"""Keys and values of a card or a pipeline at most, those of aliases counted each time."""
DEEPEST = 50
"""Mappings and lists inside each other at most."""


class Strict(BaseModel):
    """A schema that rejects unknown keys and also validates its defaults. The docstring of a key is its description."""

    model_config = ConfigDict(
        extra="forbid", validate_default=True, protected_namespaces=(), use_attribute_docstrings=True
    )


class _Strict(yaml.SafeLoader):
    """A loader for which a duplicate key is an error, of which PyYAML silently keeps the last, and a document beyond
    `MOST_NODES` or `DEEPEST`, which would take minutes here or in what works with it."""

    nodes = depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As `SafeLoader`, but raise early on a large document."""
        self.nodes, self.depth = self.nodes + 1, self.depth + 1
        if self.nodes > MOST_NODES or self.depth > DEEPEST:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            self._refuse(self.nodes > MOST_NODES, event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_document(self, node: yaml.Node) -> Any:
        """As `SafeLoader`, but raise if aliases make the document large, or endless."""
        if _size(node, {}) > MOST_NODES:
            self._refuse(True, node.start_mark)
        return super().construct_document(node)

    def _refuse(self, is_long: bool, mark: Any) -> None:
        what = f"more than {MOST_NODES:,} keys and values" if is_long else f"more than {DEEPEST} levels of nesting"
        raise yaml.composer.ComposerError(None, None, what, mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As `SafeLoader`, but raise on a duplicate key."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key, times in Counter(keys).items():
            if times > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """The nodes below and with `node`, those of aliases counted each time; infinite if it contains itself."""
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is counted
        inner = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in inner for part in pair]
        known[id(node)] = 1 + sum(_size(part, known) for part in inner)
    return known[id(node)]


def parse_yaml(text: str) -> Any:
    """The value of a YAML text of bounded size. Raises `YAML_ERRORS`."""
    return yaml.load(text, _Strict)


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file. Raises `UserError` if it is unreadable, not YAML, or repeats a key."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{path}: is larger than {LARGEST_FILE >> 20} MiB. Give a card or a pipeline.")
        content = parse_yaml(path.read_text(encoding="utf-8"))
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
        shown = list(grouped.items())[: 1 if len(grouped) > 2 else 2]
        lines = [_explain(schema, key, problems, place_of(key, path, overrides)) for key, problems in shown]
        if len(grouped) > 2:
            lines.append(f"({len(grouped) - 1} more keys are wrong.)")
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
