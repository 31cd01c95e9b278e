"""The documentation names what the code has."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import get_args

import typer
import yaml

import rsam_app
from docs_site.assemble import assemble
from docs_site.commands import command_pages
from docs_site.exit_codes import codes
from docs_site.keys import card_page, keys, pipeline_page
from docs_site.links import with_linked_pages, with_site_links
from docs_site.lists import with_wide_lists
from docs_site.predictions import columns
from docs_site.python_api import python_page
from rsam_app.cli import app
from rsam_app.cli.config import config_app
from rsam_app.cli.exit_codes import BEYOND_LIMIT
from rsam_app.cli.review import ExportFormat
from rsam_app.config import REPOSITORY, Card, load_pipeline
from rsam_app.config.card import Download
from rsam_app.config.describe import settings
from rsam_app.review.dataset.fields import CERTAINTY, CHANGE, LOCATED, OVERLAP, SOFT_MASK
from rsam_app.review.dataset.labelling_fields import PROBABILITY, RANK, REASON, SUGGESTED
from rsam_app.review.dataset.schema import DECISIONS, FIELDS, JUDGED_PLACE
from rsam_app.run.predictions import SCHEMA

VARIABLE = re.compile(r"\bRSAM_[A-Z][A-Z_]*[A-Z]\b")


def test_every_environment_variable_is_on_one_page():
    code = [
        *(REPOSITORY / "rsam_app").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py"),
        *(REPOSITORY / "benchmarks").rglob("*.py"), *(REPOSITORY / ".ci").iterdir(), REPOSITORY / "Makefile",
    ]  # fmt: skip
    used = {name for file in code for name in VARIABLE.findall(file.read_text(encoding="utf-8"))}
    page = (REPOSITORY / "docs" / "environment.md").read_text(encoding="utf-8")
    assert set(VARIABLE.findall(page)) == used
    assert {"RSAM_DATA", "RSAM_CACHE_GIB", "RSAM_WHO"} <= used


def test_every_page_is_reachable_from_the_readme_or_another_page():
    pages = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").glob("*.md")]
    linked = {
        (page.parent / target).resolve()
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+\.md)", page.read_text(encoding="utf-8"))
    }
    assert {page for page in pages[2:] if page.resolve() not in linked} == set()
    assert {target for target in linked if not target.exists()} == set()


def test_the_readme_can_be_read_at_once():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").split()) < 900


def test_the_tables_name_every_layout_format_and_command():
    def page(name):
        return (REPOSITORY / "docs" / name).read_text(encoding="utf-8")

    assert {f"`{layout}`" for layout in get_args(Card.model_fields["layout"].annotation)} <= {
        *re.findall(r"`\w+`", page("data.md"))
    }
    assert {f"`{kind}`" for kind in get_args(ExportFormat)} <= {*re.findall(r"`[\w-]+`", page("export.md"))}
    commands = [c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands]
    assert {*commands} <= {*re.findall(r"`rsam ([a-z-]+)", page("commands.md"))}


class WithoutTags(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags name Python functions, without calling them."""


WithoutTags.add_multi_constructor("", lambda loader, tag, node: None)


def test_the_navigation_names_every_page_once_and_no_other(tmp_path):
    nav = yaml.load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), WithoutTags)["nav"]

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        return [page for inner in (entry.values() if isinstance(entry, dict) else entry) for page in pages(inner)]

    assembled = assemble(tmp_path / "pages")
    assert sorted(pages(nav)) == assembled
    assert {"index.md", "scores.md", "results/attention.md", "reference/commands/train.md"} <= {*assembled}


def test_links_have_their_place_in_the_site():
    places = {"docs/scores.md": "scores.md", "README.md": "overview.md", "benchmarks/results/a.md": "results/a.md"}

    def linked(text, source):
        return with_site_links(text, source, places)

    assert linked("[s](docs/scores.md#boxes)", "README.md") == "[s](scores.md#boxes)"
    assert linked("![s](../../docs/scores.md)", "benchmarks/results/a.md") == "![s](../scores.md)"
    assert linked("[`card.py`](../rsam_app/config/card.py)", "docs/scores.md") == "`card.py`"
    named = with_linked_pages("see docs/scores.md, README.md", "reference/commands/train.md", places)
    assert named == "see [docs/scores.md](../../scores.md), [README.md](../../overview.md)"
    for unchanged in ("[a](#b)", "[a](https://example.org/c.md)", "[a](no.md)", "`[a](b.md)`", "```\n[a](b.md)\n```\n"):
        assert linked(unchanged, "docs/scores.md") == unchanged


def test_lists_are_indented_as_the_site_reads_them():
    given = "- a\n  b\n\n      code\n\n  c\n- d\n\n    code\n\n12. e\n    f\n```\n- x\n  y\n```\n"
    wide = "- a\n    b\n\n        code\n\n    c\n\n- d\n\n      code\n\n12. e\n    f\n```\n- x\n  y\n```\n"
    assert with_wide_lists(given) == wide
    assert with_wide_lists("- a\n  b\n- c\n") == "- a\n    b\n- c\n"
    assert with_wide_lists("- a\n\ntext\n\n    code\n") == "- a\n\ntext\n\n    code\n"


def test_the_reference_has_every_command_with_every_option():
    sections = {
        name: text
        for page in command_pages().values()
        for name, _, text in (section.partition("\n") for section in page.split("\n## rsam ")[1:])
    }
    names = [c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands]
    inner = [f"config {c.name or c.callback.__name__}" for c in config_app.registered_commands]
    assert sorted(sections) == sorted(names + inner)
    root = typer.main.get_command(app)
    for name in names:
        command = root.commands[name]
        told = {*re.findall(r"--[a-z-]+", command.get_help(command.context_class(command)))}
        assert told - {"--verbose", "--quiet", "--help"} <= {*re.findall(r"--[a-z-]+", sections[name])}, name
    assert "--budget N" in sections["select"]


def test_the_reference_has_every_key_with_its_meaning():
    of_pipeline = {key.name: key for key in keys("pipeline")}
    listed = {setting.key for setting in settings(load_pipeline("cub_mobilenetv2"))}
    assert {*of_pipeline} == listed | {"train.augment"}
    of_card = {key.name: key for key in keys("card")}
    inside = {f"download.{name}" for name in Download.model_fields}
    assert {*of_card} == {*Card.model_fields} | inside | {"license"}
    assert [name for name, key in {**of_pipeline, **of_card}.items() if not key.meaning or not key.type] == []
    assert of_pipeline["train.epochs"].default == "`12`" and of_pipeline["train.epochs"].type == "integer ≥ 1"
    assert "| `epochs` | integer ≥ 1 | `12` |" in pipeline_page() and "| `root` | text | required |" in card_page()


def test_the_reference_has_every_column_exit_code_and_public_name():
    assert [(name, bool(meaning)) for name, _, meaning in columns()] == [(name, True) for name in SCHEMA.names]
    assert [code for code, _ in codes()] == [0, 1, 2, BEYOND_LIMIT, 130]
    headings = re.findall(r"heading: rsam_app\.(\w+)", python_page())
    assert sorted([*headings, "__version__"]) == sorted(rsam_app.__all__)


def test_the_messages_in_troubleshooting_are_those_of_the_code():
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"```message\n(.+)\n```", page)
    files = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "rsam_app").rglob("*.py")]
    texts = [
        node.value
        for file in files
        for node in ast.walk(ast.parse(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    parts = [part.strip() for message in messages for part in message.split("…") if len(part.strip()) > 2]
    assert [part for part in parts if not any(part in text for text in texts)] == []
    assert len(messages) == 11


def test_the_fields_in_fiftyone_are_on_one_page():
    page = (REPOSITORY / "docs" / "fields.md").read_text(encoding="utf-8")
    listed = {*re.findall(r"`(\w+)`", page)}
    code = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "rsam_app" / "review").rglob("*.py"))
    scores = {"misattention", "label_quality", "outside_correct", "background_shortcut"}
    panels = {"embeddings", "boxes", "text"}
    of_run = {*re.findall(r"\{key\}_([a-z][a-z_]*)", code)} - scores - panels
    assert {f"KEY_{name}" for name in (*of_run, *CERTAINTY, SOFT_MASK, LOCATED)} <= listed
    assert {*FIELDS, JUDGED_PLACE, RANK, REASON, SUGGESTED, PROBABILITY} <= listed
    assert {f"FIRST_{OVERLAP}SECOND", f"SECOND_{CHANGE}FIRST"} <= listed
    assert {*DECISIONS} <= {*re.findall(r"`([\w ]+)`", page)}


def test_the_badges_say_what_the_package_says():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = {
        name: (REPOSITORY / "docs" / "badges" / f"{name}.svg").read_text(encoding="utf-8")
        for name in ("python", "licence")
    }
    assert f"python: {project['requires-python'].removeprefix('>=')} or newer" in said["python"]
    assert f"licence: {project['license']}" in said["licence"]
