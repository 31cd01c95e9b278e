"""The report as users see it: one self-contained page, correct in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rsam_app.config import Taxonomy
from rsam_app.data.records import Dataset
from rsam_app.evaluation.metrics.rectangles import score_rectangles
from rsam_app.evaluation.metrics.summary import evaluate_predictions
from rsam_app.evaluation.report.headlines import findings, overlap_lines, percent
from rsam_app.evaluation.report.write import write_report
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.run.metrics_log import read_log


class Page(HTMLParser):
    """Text of the page, and every URL in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name in ("src", "srcset", "href") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("läufe") / "mein lauf"
    folder.mkdir()
    lines = [
        {"epoch": e, "train_loss": 2 / e, "val_top1": 1 - 1 / e, "learning_rate": 1e-3, "note": "x"} for e in (1, 2, 3)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"epoch": 4, "tra', encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def written(run: Path, dataset: Dataset, make_table: Any) -> tuple[Path, str]:
    """The report of a run with everything: its path and its text."""
    return report(run, dataset, make_table(dataset.records))


def report(run: Path, dataset: Dataset, table: Any) -> tuple[Path, str]:
    metrics = evaluate_predictions(table, dataset, "test")
    path = write_report(run / "evaluation", metrics, table, dataset, run / "metrics.jsonl")
    return path, path.read_text(encoding="utf-8")


def test_the_page_stands_alone_and_escapes_names(run: Path, dataset: Dataset, written: tuple[Path, str]) -> None:
    path, html = written
    page = Page(html)
    assert path == run / "evaluation" / "report.html"
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", html)
    for name in dataset.classes:
        assert name in page.text
    assert "<b>Möwe" not in html
    assert {"Worst rectangles", "Best rectangles", "Most misattended", "Most confident mistakes"} <= set(
        re.findall(r"<h2>(.*?)</h2>", html)
    )
    assert "Unreadable lines of the training log, left out: 1." in page.text
    assert not list(path.parent.glob("*.partial"))


def test_plots_are_kept_as_files(written: tuple[Path, str]) -> None:
    path, _ = written
    for name in ("reliability", "training_curves", "iou"):
        with Image.open(path.parent / f"{name}.png") as image:
            assert image.format == "PNG"
            assert min(image.size) > 200


def test_thumbnails_are_small_and_outlines_lie_on_them(written: tuple[Path, str]) -> None:
    _, html = written
    sizes = [tuple(map(int, found)) for found in re.findall(r'viewBox="0 0 (\d+) (\d+)" role="img"', html)]
    assert sizes
    assert max(max(size) for size in sizes) <= 256
    assert html.count('class="seen" points=') == len(sizes)
    assert html.count('class="true" points=') == len(sizes)


def test_missing_boxes_rectangles_and_logs_are_reported(tmp_path: Path, dataset: Dataset, make_table: Any) -> None:
    bare = replace(dataset, records=tuple(replace(r, boxes=()) for r in dataset.records))
    _, html = report(tmp_path / "without boxes", bare, make_table(bare.records))
    assert "Does it look at the right place?" not in html
    assert "no image of the split test has a box or a mask" in Page(html).text
    assert "<h2>Rectangles</h2>" in html
    _, html = report(tmp_path / "without attention", dataset, make_table(dataset.records, rectangles=False))
    assert 'class="seen" points=' not in html
    assert "There is no training log" in html


def shown(share: float) -> str:
    """A share as percent, with a plain space as in text whose blanks are joined."""
    return percent(share).replace("\N{NO-BREAK SPACE}", " ")


def test_a_taxonomy_has_a_section_with_a_row_per_level(tmp_path: Path, dataset: Dataset, make_table: Any) -> None:
    _, plain = report(tmp_path / "without", dataset, make_table(dataset.records))
    assert "How far off are its mistakes?" not in plain
    kinds = Taxonomy(("class", "<i>kind</i>"), (dataset.classes, ("bird", "mammal", "mammal", "bird")))
    named, table = replace(dataset, taxonomy=kinds), make_table(dataset.records)
    metrics = evaluate_predictions(table, named, "test", sure_accuracy=0.6)
    path = write_report(tmp_path / "run", metrics, table, named, tmp_path / "none")
    html = path.read_text(encoding="utf-8")
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())  # blanks between cells
    assert "<h2>How far off are its mistakes?</h2>" in html and "<i>kind" not in html
    rolled = metrics["taxonomy"]["roll_up"]
    assert f"probability of {rolled['threshold']:.3f} or more" in text
    assert f"{shown(rolled['share'])} of the images get one, {shown(rolled['accuracy'])} of these are right" in text
    for level, answers in zip(metrics["taxonomy"]["levels"], rolled["levels"], strict=True):
        low, high = level["top1_interval"]
        row = f"{level['level']} {level['n_nodes']} {shown(level['top1'])} {shown(low)} to {shown(high)}"
        assert f"{row} {shown(answers['share'])}" in text
    few = evaluate_predictions(table, named, "test")
    html = write_report(tmp_path / "few", few, table, named, tmp_path / "none").read_text(encoding="utf-8")
    assert f"Unsure answers are not rolled up: {few['absent']['taxonomy.roll_up']}." in Page(html).text


def masked(dataset: Dataset, folder: Path, keep_boxes: bool, part: float = 1.0) -> Dataset:
    """The dataset with masks: an L, three quarters of each record's box. Own boxes keep a part of their height."""
    records = []
    for record in dataset.records:
        left, top = (round(edge) for edge in record.boxes[0][:2])
        right, low = left + 40, top + 30
        region = np.zeros((record.height, record.width), dtype=np.uint8)
        region[top:low, left:right] = 1
        region[top : top + 15, left + 20 : right] = 0
        mask = folder / f"{record.path.stem}.png"
        Image.fromarray(region).save(mask)
        boxes = ((float(left), float(top), 40.0, 30 * part),) if keep_boxes else ()
        records.append(replace(record, boxes=boxes, mask=mask))
    return replace(dataset, records=tuple(records))


@pytest.mark.parametrize(("keep_boxes", "part"), [(False, 1.0), (True, 1.0), (True, 0.5)])
def test_boxes_lead_and_masks_stand_below(
    tmp_path: Path, dataset: Dataset, make_table: Any, keep_boxes: bool, part: float
) -> None:
    with_masks = masked(dataset, tmp_path, keep_boxes, part)
    table = make_table(dataset.records)
    metrics = evaluate_predictions(table, with_masks, "test")
    located, n = metrics["localization"], metrics["n"]
    path = write_report(tmp_path / "run" / "evaluation", metrics, table, with_masks, tmp_path / "none")
    text = Page(path.read_text(encoding="utf-8")).text
    truth = "the true boxes" if keep_boxes and part == 1 else "the boxes around the masks"
    assert f"mean IoU of {located['mean_iou']:.3f} with {truth}" in text
    assert f"Measured against {truth}, on {n} images" in text
    assert f"Measured against masks, pixel by pixel, on {n} images" in text
    assert text.index(f"{located['mean_iou']:.3f}") < text.index(f"{located['masks']['mean_iou']:.3f}")
    assert located["masks"]["mean_iou"] < 0.8 * located["mean_iou"]
    lines = overlap_lines(located)
    assert lines[0].startswith(f"rectangles: mean IoU {located['mean_iou']:.3f} with {truth} (")
    assert lines[1].startswith(f"rectangles: mean IoU {located['masks']['mean_iou']:.3f} with the masks (")
    for line, figures in zip(lines, (located, located["masks"]), strict=False):
        for baseline in ("centre box", "full image"):
            assert f"{baseline} {figures[baseline.replace(' ', '_') + '_mean_iou']:.3f}" in line
    of_part = keep_boxes and part < 1
    assert len(lines) == 2 + of_part
    assert ("Boxes are taken from the masks, not from the 10 images with boxes of their own" in text) == of_part
    shown = metrics["per_class"][0]["mean_iou"]
    ious = rectangle_ious_of(table, with_masks, metrics["per_class"][0]["class"])
    assert shown == pytest.approx(ious), "the table per class and the headline have one kind"


def rectangle_ious_of(table: Any, dataset: Dataset, label: str) -> float:
    """The mean IoU with the boxes around the masks, over the test images of a class."""
    rows = {row["id"]: row for row in table.to_pylist()}
    records = [r for r in dataset.split("test") if r.label == label]
    places = np.array([[rows[r.id][name] for name in RECTANGLE_FIELDS] for r in records])
    return float(score_rectangles(places, records, "mask_boxes", None).iou.mean())


def test_missing_centre_boxes_and_truths_are_said(dataset: Dataset, make_table: Any, tmp_path: Path) -> None:
    with_masks = masked(dataset, tmp_path, keep_boxes=False)
    kept = {r.id for r in with_masks.split("test")[:8]}
    few = tuple(r if r.id in kept else replace(r, mask=None) for r in with_masks.records)
    metrics = evaluate_predictions(make_table(dataset.records), replace(with_masks, records=few), "test")
    located = metrics["localization"]
    assert (located["n"], located["n_without_truth"]) == (8, 2)
    assert metrics["absent"]["localization.centre_box_mean_iou"] == "no training image has masks"
    assert metrics["absent"]["localization.masks.centre_box_mean_iou"] == "no training image has masks"
    assert all("no centre box, full image" in line and line.endswith("; 8 images") for line in overlap_lines(located))
    assert ("plain", "2 images have no masks and are not scored.") in findings(metrics)


def test_missing_images_are_listed(tmp_path: Path, dataset: Dataset, make_table: Any) -> None:
    moved = tuple(replace(r, path=tmp_path / r.path.name) for r in dataset.split("test"))
    _, html = report(tmp_path / "run", replace(dataset, records=moved), make_table(moved))
    assert "Not shown" in html
    assert "bild 1.jpg" in html


def test_any_log_is_tolerated(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b'{"epoch": 1}\n\n[1, 2]\n\xff\xfe\n{"epoch": 2, "train_loss": null}\n')
    lines, broken = read_log(log)
    assert [line["epoch"] for line in lines] == [1, 2]
    assert broken == 2
    assert read_log(tmp_path / "none") == ([], 0)


def test_the_class_table_sorts_in_a_browser(written: tuple[Path, str]) -> None:
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser_path is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    path, _ = written
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        complaints: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())

        def column(place: int) -> list[str]:
            return page.locator(f"table.sortable tbody td:nth-child({place})").all_inner_texts()

        page.get_by_role("button", name="Images").click()
        ascending = [int(text) for text in column(2)]
        page.get_by_role("button", name="Images").click()
        descending = [int(text) for text in column(2)]
        page.get_by_role("button", name="Recall").click()
        recall = column(3)
        natural = page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        browser.close()
    assert ascending == sorted(ascending) != descending == sorted(descending, reverse=True)
    assert recall[-1] == "–"  # the class without an image stays last
    assert natural
    assert not complaints
    assert all(address.startswith(("file:", "data:")) for address in requests)
