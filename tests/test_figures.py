"""The figures in README and documentation are those of `benchmarks/results`, and its pages those of its cells."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import pytest

from rsam_app.evaluation.metrics.paired import paired_difference
from rsam_app.system.json_files import read_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
Place = TypeVar("Place")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A script of `benchmarks/` as a module, with the scripts' own packages beside it."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(f"{ROOT}{os.sep}benchmarks"):
            del sys.modules[name]


def cells(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RESULTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_results_page_is_what_its_script_writes_from_the_cells(benchmark: Callable[[str], ModuleType]) -> None:
    attention, shortcut, queue = (benchmark(name) for name in ("attention", "shortcut", "rectangle_queue"))
    pages = {
        "attention": attention.table(cells("attention")),
        "backbone_families": benchmark("backbone_families").table(cells("backbone_families")),
        "demo_rounds": benchmark("demo_rounds").table(cells("demo_rounds")),
        "finetuning": benchmark("finetuning").table(cells("finetuning")),
        "peers": benchmark("peers").table(cells("peers")),
        "rectangle_queue": queue.page(cells("rectangle_queue")),
        "shortcut": shortcut.table(cells("shortcut"), shortcut.SETTING),
    }
    for name, text in pages.items():
        assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == text, f"{name}.md: run its script again"


def rows_of(document: str, heading: str) -> dict[str, list[str]]:
    """The cells of the table whose heading begins so, by the first cell of its row."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        found[first] = rest
    return found


def prose(document: str) -> str:
    """A document's text, whatever its lines' ends."""
    return " ".join((ROOT / document).read_text(encoding="utf-8").split())


def said_at(table: Mapping[str, list[str]], places: Sequence[Place]) -> Iterator[tuple[str, Place, str]]:
    """Each cell of a table whose columns are the places: its row, its place and its text."""
    for name, said in table.items():
        for text, place in zip(said, places, strict=True):
            yield name, place, text


def short(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1)


VARIANTS = {
    "RSAM": "RSAM",
    "RSAM, second look": "RSAM, second look",
    "RSAM, a tenth of the rectangles corrected": "RSAM, 10 % corrected",
    "position-wise attention (CBAM)": "position-wise (CBAM)",
    "no attention; its Grad-CAM": "none",
    "no attention, 320 pixels": "none, 320 px",
}


def mean(rows: list[dict[str, Any]], data_set: str, variant: str, key: str) -> float | None:
    values = [r[key] for r in rows if (r["data_set"], r["variant"]) == (data_set, variant) and r.get(key) is not None]
    return float(np.mean(values)) if values else None


def figure(value: float | None, is_share: bool, digits: int = 1) -> str:
    if value is None:
        return ""
    return f"{100 * value:.{digits}f} %" if is_share else short(value)


@pytest.mark.parametrize(
    ("document", "heading", "columns"),
    [
        (
            "README.md",
            "| | birds: IoU | IoU ≥ .5 | top-1",
            "birds iou, birds half, birds top1, pets iou, pets top1, beetles iou, beetles top1",
        ),
        (
            "docs/results.md",
            "| | birds: top-1 | IoU, boxes",
            "birds top1, birds iou, birds half, pets top1, pets iou, beetles top1, beetles iou",
        ),
    ],
)
def test_the_table_of_accuracy_and_location_is_that_of_the_benchmark(document: str, heading: str, columns: str) -> None:
    rows = cells("attention")
    sets = {"birds": "cub_200_2011", "pets": "oxford_iiit_pet", "beetles": "rsam_demo"}
    keys = {"top1": ("top1", True, 1), "iou": ("mean_iou", False, 3), "half": ("share_iou_50", True, 0)}
    table = rows_of(document, heading)
    assert "RSAM" in table
    for name, said in table.items():
        for column, value in zip(columns.split(", "), said, strict=True):
            where, key = column.split()
            field, is_share, digits = keys[key]
            if name in VARIANTS:
                assert value == figure(mean(rows, sets[where], VARIANTS[name], field), is_share, digits), (name, column)
            else:  # the box in the centre, which every cell carries
                centre = mean(rows, sets[where], "RSAM", f"centre_box_{field}")
                assert value == figure(centre, is_share, digits), (name, column)


def test_the_table_of_fine_tuning_is_that_of_the_benchmark() -> None:
    methods = {
        "RSAM, backbone frozen": ("frozen", "top1"),
        "no attention": ("none", "top1"),
        "CBAM": ("cbam", "top1"),
        "RSAM": ("rsam", "top1"),
        "RSAM, second look if unsure": ("second-look", "top1_second_look_if_unsure"),
        "RSAM, second look": ("second-look", "top1"),
        "no attention, 224 pixels": ("none-larger", "top1"),
    }
    cards = {"birds": "cub_200_2011", "pets": "oxford_iiit_pet"}
    tables = {"mobilenetv2_100": "| | birds: top-1 | seeds", "tf_efficientnet_lite0": "| EfficientNet-Lite0 | birds:"}
    for backbone, heading in tables.items():
        rows = [row for row in cells("finetuning") if (row["backbone"], row["side"]) == (backbone, 160)]
        table = rows_of("docs/results.md", heading)
        assert set(table) <= set(methods) and {methods[name][0] for name in table} == {row["method"] for row in rows}
        for name, said in table.items():
            method, top1 = methods[name]
            found = {d: [r for r in rows if (r["card"], r["method"]) == (card, method)] for d, card in cards.items()}

            def average(data: str, key: str, found: dict[str, list[dict[str, Any]]] = found) -> float | None:
                values = [row[key] for row in found[data] if key in row]
                return float(np.mean(values)) if values else None

            seeds = {data: str(len(one)) for data, one in found.items()}
            iou, half = figure(average("birds", "iou"), False), figure(average("birds", "share_above_half"), True, 0)
            expected = [figure(average("birds", top1), True), seeds["birds"], iou, half]
            pets = [figure(average("pets", top1), True), seeds["pets"] if found["pets"] else ""]
            assert said == [*expected, *pets], name


def test_what_fine_tuning_gains_is_that_of_the_benchmark() -> None:
    rows = [row for row in cells("finetuning") if row["side"] == 160]
    by_pair: dict[str, dict[Any, float]] = defaultdict(dict)
    for row in rows:
        pair = (row["backbone"], row["card"], row["seed"])
        by_pair[row["method"]][pair] = 100 * row["top1"]
        if "top1_second_look_if_unsure" in row:
            by_pair["unsure"][pair] = 100 * row["top1_second_look_if_unsure"]

    def gain(method: str, other: str, backbone: str = "", card: str = "") -> tuple[str, str]:
        values = [{k: v for k, v in by_pair[m].items() if backbone in k[0] and card in k[1]} for m in (method, other)]
        found = paired_difference(*values)
        assert found
        return f"{found.mean:.1f}", f"{found.high - found.mean:.1f}"

    text, mobile = prose("docs/results.md"), "mobilenetv2_100"
    (birds, pets) = (gain("second-look", "none", mobile, card) for card in ("cub", "pet"))
    assert f"by {' ± '.join(birds)} points on the birds" in text and f"and {' ± '.join(pets)} on the pets" in text
    for page in ("README.md", "docs/faq.md"):
        assert f"{birds[0]} points better" in prose(page) and f"and {pets[0]} on the pets" in prose(page)
    unsure = [gain("unsure", "none", mobile, card)[0] for card in ("cub", "pet")]
    assert f"is {unsure[0]} points better than no attention on the birds and {unsure[1]} on the pets" in text
    (birds, pets) = (gain("second-look", "rsam", mobile, card) for card in ("cub", "pet"))
    assert f"{birds[0]} points over one look on the birds and {pets[0]} on the pets" in prose("docs/when-not.md")
    assert f"on the birds (three seeds), now {birds[0]}." in text
    assert f"(224 pixels) is {gain('second-look', 'none-larger')[0]} points behind it" in text
    pooled = [" ± ".join(gain(method, "none")) for method in ("second-look", "unsure", "rsam")]
    assert f"by **{pooled[0]}** points, and if unsure by {pooled[1]}; one look differs by {pooled[2]}." in text


def test_the_speeds_are_those_of_the_benchmarks() -> None:
    networks = {
        "MobileNetV2": "mobilenetv2_100",
        "EfficientNet-Lite0": "tf_efficientnet_lite0",
        "ResNet-18": "resnet18",
        "ResNet-50": "resnet50",
        "ConvNeXt-Tiny": "convnext_tiny",
    }
    report = read_json(RESULTS / "fast_path.json")
    table = rows_of("docs/results.md", "| | training | inference |")
    assert set(table) == set(networks)
    for name, said in table.items():
        ours = [report[networks[name]][step]["ours"]["ratio"] for step in ("training", "inference")]
        assert said == [f"{ratio:.1f}" for ratio in ours], name
    text = prose("docs/results.md")
    predicted = read_json(RESULTS / "predict.json")
    whole, looks = predicted["whole_process"]["ratio_to_plain"], predicted["seconds_to_one_look"]
    assert f"answers {whole['one look']:.1f} times as many photographs a second with one look" in text
    unsure = f"{looks['a second look if unsure']:.1f} times"
    assert (
        f"a second look if unsure takes {unsure} as long as one look, and two looks {looks['two looks']:.1f} times"
        in text
    )
    assert f"and takes {unsure} as long as one look" in text and f"answers take {unsure} as long" in prose("README.md")
    assert f"{unsure} the time of one look" in prose("docs/attention.md") and f"or {unsure} if" in prose(
        "docs/when-not.md"
    )
    found = [f"{images['seconds']:.0f}" for images in read_json(RESULTS / "discovery.json")["images"].values()]
    assert f"in 1,500 photographs in {found[0]} seconds, and in 2,889 in {found[1]}." in text
    assert f"{whole['two looks']:.1f} times with two, and {whole['a second look if unsure']:.1f} times with" in text


def test_what_8_bits_bring_is_that_of_the_benchmark() -> None:
    report, text = read_json(RESULTS / "int8_inference.json"), prose("docs/export.md")
    pets, birds = report["oxford_iiit_pet"], report["cub_200_2011"]
    lost = [f"{100 * (one['top1']['float32'] - one['top1']['int8']):.1f} points" for one in (pets, birds)]
    assert f"is {pets['times_as_fast']:.1f} times as fast on the pets and loses {lost[0]} of top-1" in text
    assert f"on the birds, it loses {lost[1]} and" in text
    assert f"takes {1 / birds['times_as_fast']:.1f} times as long" in text


def test_the_table_of_stages_is_that_of_the_benchmark() -> None:
    report = read_json(RESULTS / "stages.json")
    said = rows_of("docs/scale.md", "| command | 1,000 images")
    assert {name.strip("`") for name in said} == set(report["growth"])
    for name, (*sizes, growth) in said.items():
        stage = name.strip("`")
        found = [f"{of[stage]['seconds']:.0f} s, {of[stage]['mib'] / 1024:.1f} GiB" for of in report["stages"].values()]
        assert sizes == found and float(growth) == report["growth"][stage]


def test_what_the_closer_crop_is_worth_is_that_of_the_benchmark() -> None:
    cells = read_json(RESULTS / "second_look_crop.json")["cells"]

    def gain(card: str, context: str) -> str:
        found = [cell[context]["test"] - cell["whole image"]["test"] for name, cell in cells.items() if card in name]
        return f"{100 * np.mean(found):.1f}"

    (close, loose) = ([gain(card, f"context {factor}") for card in ("cub", "pet")] for factor in ("0.9", "1.2"))
    text = prose("docs/attention.md")
    assert f"gains {close[0]} points of top-1 on the birds and {close[1]} on the pets from the second look" in text
    assert f"with 1.2, as in earlier versions, {loose[0]} and {loose[1]} (one seed" in text


def test_the_table_of_ten_minutes_is_that_of_the_benchmark() -> None:
    ways = {
        "RSAM, backbone frozen, second look": "frozen_second_look",
        "RSAM, backbone frozen": "frozen",
        "RSAM, fine-tuned for three epochs": "finetuned",
        "Hugging Face's Trainer, three epochs": "transformers_trainer",
        "timm's recipe, three epochs": "timm_recipe",
        "fastai's `fine_tune`, three epochs": "fastai_fine_tune",
        "scikit-learn, logistic regression on frozen features": "linear_head",
    }
    table = rows_of("docs/results.md", "| | birds: top-1 | minutes |")
    assert set(table) == set(ways)
    rows = {(row["card"], row["way"], row["epochs"]): row for row in cells("peers")}
    for name, said in table.items():
        found = [rows[card, ways[name], 3] for card in ("cub_200_2011", "oxford_iiit_pet")]
        assert said == [text for row in found for text in (f"{100 * row['top1']:.1f} %", f"{row['minutes']:.1f}")], name


def test_what_the_view_is_worth_is_that_of_the_benchmark() -> None:
    text = prose("docs/results.md")
    view = read_json(RESULTS / "first_classifier.json")["view"]
    for card, lead in (("cub_200_2011", "on the birds"), ("oxford_iiit_pet", "on the pets")):
        small, large = (view[f"{card}, {side} pixels"] for side in (160, 224))
        said = [f"from {100 * one['whole']:.1f} to {100 * one['centre']:.1f} %" for one in (small, large)]
        assert f"{lead} {said[0]}, and at 224 pixels {said[1]}" in text


def test_the_table_of_answers_against_a_shortcut_is_that_of_the_benchmark() -> None:
    methods = {
        "none: no attention": "none",
        "none: CBAM": "cbam",
        "none: RSAM": "rsam",
        "none: AFR": "afr",
        "none: JTT": "jtt",
        "17 boxes, 17 yes/no": "both-17",
        "69 yes/no": "yes-no-69",
        "69 yes/no in three rounds": "asked-again-69",
        "34 labels": "labels-34",
        "34 named groups (DFR)": "dfr-34",
        "crops along the true boxes": "ceiling",
    } | {f"{number} boxes": f"exchanged-{number}" for number in (5, 10, 23, 50)}
    rows = [row for row in cells("shortcut") if row["backbone"] == "mobilenetv2_100"]
    table = rows_of("docs/attention.md", "| answers | time |")
    assert set(table) <= set(methods) and "23 boxes" in table
    for name, (_, *said, seeds) in table.items():
        counts = set()
        for text, data in zip(said, ("beetles", "birds", "pets"), strict=True):
            measured = [row for row in rows if (row["set"], row["method"]) == (data, methods[name])]
            figures = [[row[key] for row in measured if key in row] for key in ("unusual", "usual", "iou")]
            assert text == (" / ".join(short(float(np.mean(one)), 2) for one in figures if one) or "–"), (name, data)
            counts |= {len(measured)} - {0}
        assert seeds == "–".join(map(str, sorted(counts))), name


def test_the_table_of_unknown_classes_is_that_of_the_benchmark() -> None:
    result = read_json(RESULTS / "unknown_classes.json")
    scores = {
        "1 - confidence": "maximum softmax",
        "energy alone": "energy",
        "cosine to the nearest class mean alone": "cosine to the nearest class mean",
        "Mahalanobis": "Mahalanobis",
    }
    table = rows_of("docs/scores.md", "| | choosing | reported |")
    for name, score in scores.items():
        for said, part in zip(table[name], ("choosing", "reported"), strict=True):
            auroc = result[part][score]["auroc"]
            low, high = (short(one) for one in auroc["range"])
            assert said == f"{short(auroc['mean'])} [{low}, {high}]", (name, part)


def test_the_table_of_selection_is_that_of_the_benchmark() -> None:
    result = read_json(RESULTS / "selection.json")
    places = [
        f"{data}, {pool}"
        for data in ("cub_mobilenetv2", "pet_mobilenetv2", "generated_beetles")
        for pool in ("whole pool", "nine tenths of the pool")
    ]
    places += [f"{d}, nine tenths of the pool, 50 labels a round" for d in ("pet_mobilenetv2", "generated_beetles")]
    table = rows_of("docs/selection.md", "| mean accuracy | birds, all |")
    assert {f"`{name}`" for name in result[places[0]]["strategies"]} == set(table)
    for name, place, text in said_at(table, places):
        area = result[place]["strategies"][name.strip("`")]
        expected = {f"{short(area['area'])} ± {short(area['area_interval'])}", f"{short(area['area'])} (one)"}
        assert text in expected, (name, place)


def test_the_table_of_wrong_labels_is_that_of_the_benchmark() -> None:
    result = read_json(RESULTS / "label_errors.json")
    scores = {
        "`label_quality` of the run": "label_quality, combined",
        "the same, held out alone": "label_quality, held out",
        "the same, learned alone": "label_quality, learned",
        "self-confidence, the same probabilities": "self_confidence, combined",
        "normalised margin, the same": "normalised_margin, combined",
        "mistakenness, the same": "mistakenness, combined",
        "self-confidence, out of fold": "self_confidence, out of fold",
        "normalised margin, out of fold": "normalised_margin, out of fold",
        "mistakenness, out of fold": "mistakenness, out of fold",
    }
    table = rows_of("docs/selection.md", "| | birds, uniform | birds, siblings |")
    assert set(table) == set(scores)
    places = [(data, errors) for data in ("birds", "beetles", "pets") for errors in ("uniform", "siblings")]
    for name, (data, errors), text in said_at(table, places):
        score = result[data][errors]["scores"][scores[name]]
        auprc, precision = short(score["auprc"]["mean"]), short(score["precision_at_k"]["mean"])
        assert re.sub(r" ± \.\d+", "", text) == f"{auprc} / {precision}", (name, data, errors)


def test_the_table_of_misattention_is_that_of_the_benchmark() -> None:
    result: Mapping[str, Any] = read_json(RESULTS / "misattention.json")
    off = "rotated IoU with the box below .3"
    places = [(data, off) for data in ("cub_200_2011", "cub_swapped", "rsam_demo")]
    places.append(("rsam_demo", "fooled by the shortcut"))
    table = rows_of("docs/scores.md", "| | birds, rectangle off")
    difference = table.pop("`misattention` minus 1 - confidence")
    for name, (data, target), text in said_at(table, places):
        auroc = result[data]["targets"][target]["detectors"][name.strip("`")]["auroc"]
        assert text.split()[0] == short(auroc[0]), (name, data, target)
    for text, (data, target) in zip(difference, places, strict=True):
        middle, low, high = result[data]["targets"][target]["misattention_minus"]["1 - confidence"]["auroc"]
        signed = [f"{value:+.3f}".replace("0.", ".", 1) for value in (middle, low, high)]
        assert text == f"{signed[0]} [{signed[1]}, {signed[2]}]", (data, target)
