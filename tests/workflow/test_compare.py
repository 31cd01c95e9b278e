"""`rsam compare` on two real runs: figures, page, the limit for attention, and the runs that cannot be compared."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command import rsam

from rsam_app.config import ModelConfig, Pipeline
from rsam_app.data.synthetic import generate
from rsam_app.model import build_model, save_model
from rsam_app.run.corrections import Correction, add_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.progress import Reporter


def write_card(folder: Path, name: str = "beetles", columns: tuple[str, ...] = ()) -> Path:
    """A card of the images in `folder/data`, with these columns of the manifest; all without any."""
    manifest = folder / "data" / "manifest.csv"
    if columns:
        with manifest.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        manifest = manifest.with_name(f"{name}.csv")
        with manifest.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    content = {"name": name, "layout": "manifest", "root": str(manifest), "licence": "CC0-1.0"}
    card = folder / f"{name}.yaml"
    card.write_text(yaml.safe_dump(content), encoding="utf-8")
    return card


def untrained(card: Path, path: Path, seed: int, attention: str = "rsam", classes: tuple[str, ...] = ()) -> Path:
    """A run with an untrained model, not evaluated."""
    torch.manual_seed(seed)
    config = ModelConfig(backbone="test_resnet", weights="none", attention=attention, image_size=64)
    pipeline = Pipeline(name="beetles", dataset=str(card), model=config, evaluate={"stability_views": 0})
    run = RunFolder(path)
    run.save_pipeline(pipeline)
    model = build_model(config, classes or Job(pipeline, run, Reporter()).original.classes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.3 * torch.randn(parameter.shape))
    save_model(model, run.model)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("käfer")
    generate(folder / "data", seed=0, images_per_species=10, species=4)
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> tuple[Path, Path]:
    """Two evaluated runs; the second looks further from the objects."""
    made = [untrained(write_card(folder), folder / "runs" / f"modell {seed}", seed) for seed in (0, 1)]
    for run in made:
        rsam("evaluate", run)
    first, second = sorted(made, key=lambda run: -metrics(run)["localization"]["mean_iou"])
    return first, second


def metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))


def copy_of(run: Path, path: Path) -> Path:
    shutil.copytree(run, path, ignore=shutil.ignore_patterns("compare-with-*"))
    return path


@pytest.fixture(scope="module")
def compared(runs: tuple[Path, Path]) -> tuple[dict[str, Any], Path]:
    """The figures of the comparison, as printed, and its folder."""
    first, second = runs
    figures = json.loads(rsam("compare", *runs, "--json").stdout)
    return figures, second / f"compare-with-{first.name}"


def test_each_runs_figures_are_those_of_its_evaluation(runs, compared):
    figures, _ = compared
    for name, run in zip(("first", "second"), runs, strict=True):
        own = metrics(run)
        assert figures["n"] == own["n"]
        for key in ("top1", "macro_top1", "nll", "ece"):
            assert figures[key][name] == pytest.approx(own[key]), key
        assert figures["attention"][name] == pytest.approx(own["localization"]["mean_iou"])
        assert figures["worst_group"][name]["top1"] == own["worst_group"]["worst"]
        assert {r["class"]: r["recall"][name] for r in figures["per_class"]} == pytest.approx(
            {r["class"]: r["recall"] for r in own["per_class"] if r["n"]}
        )
    assert figures["attention"]["boxes_from"] == {"boxes": figures["n"]}
    assert figures["attention"]["difference"] < 0
    assert 0 < figures["agreement"] < 1


@pytest.mark.parametrize(("source", "columns"), [("boxes", ("x", "y", "width", "height")), ("masks", ("mask",))])
def test_the_mean_iou_is_the_headline_of_each_runs_evaluation(folder, tmp_path, source, columns):
    card = write_card(folder, f"only-{source}", ("path", "label", "split", *columns))
    runs = [untrained(card, tmp_path / f"{seed}", seed) for seed in (0, 1)]
    for run in runs:
        rsam("evaluate", run)
    attention = json.loads(rsam("compare", *runs, "--json").stdout)["attention"]
    headlines = [metrics(run)["localization"] for run in runs]
    assert [attention["first"], attention["second"]] == pytest.approx([found["mean_iou"] for found in headlines])
    assert [found["boxes_from"] for found in headlines] == [source] * 2
    assert attention["boxes_from"] == {source: headlines[0]["n"]}


def test_the_page_shows_the_changed_images_with_both_rectangles_and_their_ids(runs, compared):
    figures, where = compared
    assert json.loads((where / "comparison.json").read_text(encoding="utf-8")) == figures
    html = (where / "comparison.html").read_text(encoding="utf-8")
    images = [image for images in figures["changed"].values() for image in images]
    assert images
    pictures = html.count('role="img"')
    assert pictures == len(images)
    assert [html.count(f'class="{kind}" points=') for kind in ("seen", "other", "true")] == [pictures] * 3
    for image in images:
        assert image["id"] in re.sub("<wbr>", "", html)
    assert not re.search(r"https?://|@import|url\(", html)


def test_the_terminal_shows_a_table_of_both_runs(runs, compared):
    said = rsam("compare", *runs).stdout
    figures = compared[0]
    line = next(line for line in said.splitlines() if line.startswith("Mean IoU"))
    shown = [f"{figures['attention'][key]:.3f}" for key in ("first", "second")]
    assert line.split()[5:7] == shown
    assert "p = " in said
    assert "comparison.html" in said


def test_exchanged_runs_change_in_the_other_direction(runs, compared, tmp_path):
    done = rsam("compare", *reversed(runs), "--output", tmp_path / "ci" / "page", "--json")
    back = json.loads(done.stdout)
    assert back["attention"]["difference"] == pytest.approx(-compared[0]["attention"]["difference"])
    assert len(back["changed"]["fixed"]) == len(compared[0]["changed"]["broken"])
    assert {p.name for p in (tmp_path / "ci" / "page").iterdir()} == {"comparison.html", "comparison.json", "iou.png"}


def test_attention_off_the_objects_is_exit_code_3_with_the_figures_and_the_page(runs, compared, tmp_path):
    drop = -compared[0]["attention"]["difference"]
    closed = rsam("compare", *runs, "--output", tmp_path, "--max-attention-drop", drop / 2, check=3)
    assert len(closed.stderr.strip().splitlines()[-2:]) == 2
    assert f"{-drop:+.3f} (95" in closed.stderr
    assert "rsam: Attention moved off the objects" in closed.stderr
    assert "Attention moved off the objects" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    opened = rsam("compare", *runs, "--output", tmp_path, "--max-attention-drop", drop * 2)
    assert "Attention did not move off the objects" in opened.stdout
    assert "Attention" not in opened.stderr
    rsam("compare", *reversed(runs), "--output", tmp_path, "--max-attention-drop", 0)
    limit = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))["attention_limit"]
    assert limit == {"max_drop": 0, "drop": pytest.approx(-drop), "exceeded": False}


@pytest.mark.parametrize("limit", ["nan", "-0.1", "30"])
def test_a_limit_that_is_no_iou_is_refused(runs, tmp_path, limit):
    done = rsam("compare", *runs, "--output", tmp_path / "out", "--max-attention-drop", limit, check=2)
    assert "0 to 1" in done.stderr
    assert not (tmp_path / "out").exists()


def refused(*arguments: object) -> str:
    """The message of a comparison that is refused, in at most two lines."""
    lines = [line for line in rsam("compare", *arguments, check=2).stderr.splitlines() if line.strip()]
    start = next(i for i, line in enumerate(lines) if line.startswith("rsam: "))
    assert len(lines) - start <= 2
    return "\n".join(lines[start:])


def test_runs_that_cannot_be_compared_are_refused_with_what_to_do(folder, runs, tmp_path):
    first, second = runs
    card = write_card(folder)
    assert "given twice" in refused(first, first)
    assert "not a run folder" in refused(first, tmp_path)
    bare = untrained(card, tmp_path / "bare", 0)
    assert f"`rsam evaluate {bare}`" in refused(first, bare)
    other = untrained(write_card(folder, "others"), tmp_path / "other", 0)
    rsam("evaluate", other)
    assert "beetles" in (said := refused(first, other))
    assert "others" in said
    renamed = copy_of(second, tmp_path / "renamed")
    config = json.loads((renamed / "model" / "config.json").read_text(encoding="utf-8"))
    config["label_names"] = ["a moth", *config["label_names"][1:]]
    (renamed / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "'a moth'" in refused(first, renamed)
    on_val = copy_of(second, tmp_path / "on val")
    rsam("evaluate", on_val, "--split", "val")
    assert "--split val" in refused(first, on_val)
    assert not any(tmp_path.rglob("compare-with-*"))


def test_an_output_that_is_a_file_is_refused(runs, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--output" in refused(*runs, "--output", tmp_path / "file")


def test_runs_without_a_common_image_are_refused_and_the_others_are_counted(folder, runs, tmp_path):
    import pyarrow.parquet as pq

    first, second = runs
    table = pq.read_table(first / "predictions" / "test.parquet")
    half = copy_of(second, tmp_path / "half")
    path = half / "predictions" / "test.parquet"
    pq.write_table(pq.read_table(path).slice(0, 2), path)
    figures = json.loads(rsam("compare", first, half, "--json").stdout)
    assert (figures["n"], figures["first"]["only_here"], figures["second"]["only_here"]) == (2, table.num_rows - 2, 0)
    assert f"only {first.name} evaluated, left out: {table.num_rows - 2}." in rsam("compare", first, half).stdout
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert "no image of the split test" in refused(first, half)


def test_a_model_without_attention_is_compared_but_has_no_limit(folder, runs, tmp_path):
    plain = untrained(write_card(folder), tmp_path / "plain", 3, attention="none")
    rsam("evaluate", plain)
    figures = json.loads(rsam("compare", runs[0], plain, "--json").stdout)
    assert (figures["attention"], figures["agreement"]) == (None, None)
    assert "second run has no attention" in figures["absent"]["attention"]
    assert figures["top1"]["second"] == metrics(plain)["top1"]
    assert "nothing to measure attention with" in refused(runs[0], plain, "--max-attention-drop", 0.1)


def test_without_boxes_the_reviewers_targets_are_the_truth_and_corrections_count(folder, tmp_path):
    card = write_card(folder, "boxless", ("path", "label", "split"))
    runs = [untrained(card, tmp_path / name, seed) for seed, name in enumerate(("a", "b"))]
    for run in runs:
        rsam("evaluate", run, "--split", "val")
    assert "no shared image has a box" in refused(*runs, "--max-attention-drop", 0.1)
    records = Job.of_run(runs[0], [], Reporter()).original.split("val")
    species = sorted({r.label for r in records})
    other = next(name for name in species if name != records[1].label)
    decided = [
        ("rectangle", records[0], "", "[60, 60, 50, 40, 0.2]"),
        ("label", records[1], records[1].label, other),
        ("exclude", records[2], "false", "true"),
    ]
    table = tmp_path / "corrections" / "boxless.csv"
    when = "2026-01-01T00:00:00.000Z"
    add_corrections(
        table, [Correction(r.id, kind, before, after, "me", when, "b") for kind, r, before, after in decided]
    )
    done = rsam("compare", *runs, "--json", "--max-attention-drop", 1)
    figures = json.loads(done.stdout)
    assert figures["attention"]["boxes_from"] == {"targets": 1}
    assert (figures["removed"], figures["n"]) == (1, len(records) - 1)
    assert [figures[run]["relabelled"] for run in ("first", "second")] == [1, 1]
    labels = [r.label for r in (records[0], *records[3:])] + [other]
    assert {row["class"]: row["n"] for row in figures["per_class"]} == dict(Counter(labels))
    page = (runs[1] / "compare-with-a" / "comparison.html").read_text(encoding="utf-8")
    assert page.count("(the present ones count): 1.") == 2
    assert "favour that run" in page
