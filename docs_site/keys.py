"""Pages of the keys of pipelines and cards, from the JSON Schema that `rsam config schema` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from docs_site.tables import plain, table
from rsam_app.config.describe import Kind, json_schema

Schema = Mapping[str, Any]

WORDS = {"boolean": "true or false", "integer": "integer", "number": "number", "string": "text"}
"""Types of JSON Schema in words; every other one is a mapping."""


@dataclass(frozen=True)
class Key:
    """A key of a configuration file: its dotted name, and its type, default and meaning as Markdown."""

    name: str
    type: str
    default: str
    meaning: str

    @property
    def section(self) -> str:
        """The key that this one is inside; empty at the top."""
        return self.name.rpartition(".")[0]


def keys(kind: Kind) -> list[Key]:
    """Every key of a kind of file, in the order of its sections."""
    schema = json_schema(kind)
    return list(_keys(schema, schema["$defs"], ""))


def pipeline_page() -> str:
    """The page of a pipeline's keys."""
    about = (
        "A pipeline is a file `pipelines/NAME.yaml`. `--set train.epochs=3` sets a key for one run; `rsam config show"
        " PIPELINE` lists the values that a run would use. In an editor: see [Cards and pipelines in an"
        " editor](../environment.md#cards-and-pipelines-in-an-editor)."
    )
    return _page("Keys of a pipeline", about, keys("pipeline"))


def card_page() -> str:
    """The page of a card's keys."""
    about = (
        "A card is a file `datasets/NAME.yaml`; `rsam init FOLDER` writes one. The layouts and their options are in"
        " [Data](../data.md#layouts)."
    )
    return _page("Keys of a card", about, keys("card"))


def _page(title: str, about: str, found: list[Key]) -> str:
    parts = [f"# {title}\n\n{about}\n"]
    for section in sorted({key.section: None for key in found}, key=bool):  # the top's first
        inside = [key for key in found if key.section == section]
        rows = [(f"`{key.name.rpartition('.')[2]}`", key.type, key.default, key.meaning) for key in inside]
        heading = f"## `{section}`\n\n" if section else ""
        parts.append(heading + table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def _keys(schema: Schema, definitions: Mapping[str, Schema], prefix: str) -> Iterator[Key]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        inner = _inner(field, definitions)
        if inner is None or "anyOf" in field or field.get("type") == "array":
            default = "required" if name in required else _default(field)
            meaning = plain(field.get("description", ""))
            yield Key(prefix + name, _type(field), default, meaning)
        if inner is not None:
            yield from _keys(inner, definitions, f"{prefix}{name}.")


def _inner(field: Schema, definitions: Mapping[str, Schema]) -> Schema | None:
    """The section that a key holds, or one item of a list of sections; None for a plain value."""
    for part in (field, field.get("items", {}), *field.get("anyOf", ())):
        if "$ref" in part:
            return definitions[part["$ref"].rpartition("/")[2]]
    return None


def _default(field: Schema) -> str:
    if "default" not in field:
        return ""
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`" if field["default"] != "" else ""


def _type(field: Schema) -> str:
    """The type in words, with its bounds."""
    if "anyOf" in field:
        return " or ".join(_type(part) for part in field["anyOf"] if part.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        items = _type(field["items"])
        return f"list of {items}" if "`" in items else f"list of {items}s"
    return WORDS.get(str(field.get("type")), "mapping") + _bounds(field)


def _bounds(field: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {field[bound]}" for bound, sign in signs.items() if bound in field]
    return f" {' and '.join(found)}" if found else ""
