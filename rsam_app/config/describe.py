"""The keys of pipelines and cards, described: a JSON Schema for editors, and the settings of one pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from rsam_app.config.card import Card
from rsam_app.config.pipeline import Pipeline
from rsam_app.config.training import AUGMENT_PRESETS

Kind = Literal["pipeline", "card"]


@dataclass(frozen=True)
class Setting:
    """A key of a pipeline with its value; `choices` are its allowed words, empty if it takes other values only."""

    key: str
    """Dotted, as `--set` takes it."""
    value: Any
    default: Any
    required: bool
    choices: tuple[Any, ...]
    description: str

    def text(self) -> str:
        """The setting on one line, with its description below."""
        told = f"  # default: {_shown(self.default)}" if not self.required and self.value != self.default else ""
        words = f" ({' | '.join(map(_shown, self.choices))})" if self.choices else ""
        return f"{self.key}: {_shown(self.value)}{told}\n    {' '.join(self.description.split())}{words}"


def settings(pipeline: Pipeline) -> list[Setting]:
    """All settings of a pipeline, in the order of its sections."""
    return list(_settings(type(pipeline), pipeline.model_dump(mode="json"), ""))


def json_schema(kind: Kind) -> dict[str, Any]:
    """The JSON Schema of a pipeline's or a card's file, with a description of each key."""
    schema: dict[str, Any] = (Pipeline if kind == "pipeline" else Card).model_json_schema()
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    if kind == "card":  # both spellings are read
        schema["properties"]["license"] = schema["properties"]["licence"]
        return schema
    schema["required"].remove("name")  # the file's own name
    properties = schema["$defs"]["TrainConfig"]["properties"]
    keys = properties["augment"]
    listed = {"type": "array", "items": {"type": ["object"]}}
    described = {name: keys[name] for name in ("description", "default")}
    properties["augment"] = described | {
        "anyOf": [{"enum": list(AUGMENT_PRESETS)}, listed, {"$ref": "#/$defs/AugmentConfig"}]
    }
    return schema


def _settings(schema: type[BaseModel], values: dict[str, Any], prefix: str) -> Iterator[Setting]:
    for name, field in schema.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _settings(inner, values[name], f"{prefix}{name}.")
            continue
        required = field.is_required()
        default = None if required else field.default
        yield Setting(prefix + name, values[name], default, required, _choices(inner), field.description or "")


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (list, dict):
        return ()
    return tuple(word for part in get_args(annotation) for word in _choices(part))


def _shown(value: Any) -> str:
    """A value as YAML on one line."""
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("...\n").strip()
