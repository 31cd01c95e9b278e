"""The keys of configuration, described: `rsam config show` and `rsam config schema`."""

from __future__ import annotations

import json

import pytest
import yaml
from command import rsam

from rsam_app.config import REPOSITORY, Card, Pipeline, apply_overrides, load_pipeline
from rsam_app.config.describe import json_schema, settings
from rsam_app.config.validation import by_dotted_key


def misfits(kind: str, content: object) -> list[str]:
    """What a standard validator has against the content of a file."""
    jsonschema = pytest.importorskip("jsonschema")
    return [error.message for error in jsonschema.Draft202012Validator(json_schema(kind)).iter_errors(content)]


def objects(schema: dict) -> list[dict]:
    return [part for part in (schema, *schema["$defs"].values()) if "properties" in part]


@pytest.mark.parametrize("kind", ["pipeline", "card"])
def test_every_key_has_a_description(kind):
    schema = json_schema(kind)
    sections = {f"#/$defs/{name}" for name, part in schema["$defs"].items() if part.get("description")}
    untold = [
        f"{part['title']}.{name}"
        for part in objects(schema)
        for name, field in part["properties"].items()
        if not field.get("description") and field.get("$ref") not in sections
    ]
    assert untold == []


@pytest.mark.parametrize(("kind", "folder"), [("pipeline", "pipelines"), ("card", "datasets")])
def test_every_shipped_file_fits_its_schema(kind, folder):
    files = sorted((REPOSITORY / folder).glob("*.yaml"))
    assert len(files) > 1
    for file in files:
        assert misfits(kind, yaml.safe_load(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "content",
    [
        {"dataset": "birds", "train": {"augment": "strong"}},
        {"dataset": "birds", "train": {"augment": [{"GaussianBlur": {"p": 0.2}}]}},
        {"dataset": "birds", "train": {"augment": {"rotate": 15}}},
        {"dataset": "birds", "model": {"second_look": "only", "backbone_args": {"drop_rate": 0.2}}},
    ],
)
def test_what_a_pipeline_may_hold_fits_its_schema(content):
    Pipeline.model_validate({"name": "birds", **content})
    assert misfits("pipeline", content) == []


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("pipeline", {"dataset": "birds", "train": {"epoch": 3}}),
        ("pipeline", {"dataset": "birds", "train": {"augment": "stronger"}}),
        ("pipeline", {"seed": 1}),
        ("card", {"name": "birds", "layout": "folders", "root": "birds"}),
    ],
)
def test_a_wrong_key_or_value_does_not_fit(kind, content):
    assert misfits(kind, content) != []


def test_both_spellings_of_the_licence_fit():
    for spelling in ("licence", "license"):
        content = {"name": "birds", "layout": "folder", "root": "birds", spelling: "CC0"}
        assert Card.model_validate(content).licence == "CC0"
        assert misfits("card", content) == []


def test_show_lists_every_key_with_its_effective_value():
    said = json.loads(rsam("config", "show", "pet_mobilenetv2", "--set", "train.epochs=3", "--json").stdout)
    effective = load_pipeline("pet_mobilenetv2", ["train.epochs=3"])
    flat = by_dotted_key({k: v for k, v in effective.model_dump(mode="json").items()})
    assert {s["key"]: s["value"] for s in said}.items() >= {k: v for k, v in flat.items() if "args" not in k}.items()
    epochs = next(s for s in said if s["key"] == "train.epochs")
    assert (epochs["value"], epochs["default"]) == (3, 12) and epochs["description"]
    text = rsam("config", "show", "pet_mobilenetv2", "--set", "train.epochs=3").stdout
    assert "train.epochs: 3  # default: 12\n    Passes over the training images.\n" in text
    assert "train.optimizer: adamw\n" in text and "(adamw | sgd)" in text


def test_every_key_shown_can_be_set(tmp_path):
    pipeline = load_pipeline("pet_mobilenetv2")
    for setting in settings(pipeline):
        override = f"{setting.key}={json.dumps(setting.value)}"
        assert apply_overrides(pipeline, [override], tmp_path) == pipeline


def test_schema_prints_the_pipelines_by_default():
    assert json.loads(rsam("config", "schema").stdout) == json_schema("pipeline")
    assert json.loads(rsam("config", "schema", "card").stdout) == json_schema("card")
