"""Accuracy of attention variants × datasets × seeds on cached features of a frozen backbone.

    RSAM_DATA=data python benchmarks/attention.py --weights weights/mobilenetv2_100.safetensors

`make bench` reads the weights from the folder RSAM_WEIGHTS. `--data-sets` takes names and paths of cards; `rsam demo`
writes one for its dataset beside the images.

Every seed holds out another tenth of the training images; the test images are the same. Finished cells are saved in
`benchmarks/results/attention.jsonl` and skipped, so the command can be interrupted at any time. The table is written to
`benchmarks/results/attention.md`. About 4 GiB of features are cached outside the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from frozen.cells import VARIANTS, Variant, run_cell
from frozen.features import FrozenData, load_frozen
from measuring.surroundings import where

from rsam_app.evaluation.metrics.paired import half_width, paired_difference

RESULTS = Path(__file__).resolve().parent / "results"
DATA_SETS = ("cub_200_2011", "oxford_iiit_pet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("RSAM_WEIGHTS")
    weights = Path(folder) / "mobilenetv2_100.safetensors" if folder else None
    parser.add_argument("--weights", type=Path, default=weights, required=not weights, help="MobileNetV2's")
    parser.add_argument("--data-sets", nargs="+", default=list(DATA_SETS), help="cards")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="names of variants")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "rsam" / "benchmarks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    variants = [v for v in VARIANTS if not arguments.only or v.name in arguments.only]
    arguments.results.mkdir(parents=True, exist_ok=True)
    log = arguments.results / "attention.jsonl"
    rows = read_rows(log)
    done = {(row["data_set"], row["variant"], row["seed"]) for row in rows}
    for card in arguments.data_sets:
        data = load_frozen(card, arguments.weights, arguments.cache)
        for seed in range(arguments.seeds):
            for variant in variants:
                if (data.name, variant.name, seed) not in done:
                    _refuse_masks(rows, data.name, log)
                    rows.append(_run(variant, data, arguments.weights, seed, log))
    (arguments.results / "attention.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


def _refuse_masks(rows: list[dict[str, Any]], name: str, log: Path) -> None:
    """Exit if finished cells of the dataset were measured with masks, as before boxes led: means would mix both."""
    if any(row["data_set"] == name and row.get("truth") == "masks" for row in rows):
        raise SystemExit(f"{log}: the cells of {name} were measured with masks, new ones with boxes. Give --results.")


def _run(variant: Variant, data: FrozenData, weights: Path, seed: int, log: Path) -> dict[str, Any]:
    begun = time.perf_counter()
    figures = run_cell(variant, data, weights, seed)
    seconds = round(time.perf_counter() - begun, 1)
    row = {"data_set": data.name, "variant": variant.name, "seed": seed, **figures, "seconds": seconds}
    row["environment"] = where()
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
    print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}, flush=True)
    return row


def read_rows(log: Path) -> list[dict[str, Any]]:
    """The finished cells."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def table(rows: list[dict[str, Any]]) -> str:
    """Figures per dataset, then top-1 minus that of the baselines, pooled over datasets and seeds, as Markdown."""
    parts = ["# Attention on cached features of a frozen MobileNetV2\n"]
    by_cell: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_cell[row["data_set"], row["variant"]].append(row)
    names = [v.name for v in VARIANTS]
    for data_set in dict.fromkeys(row["data_set"] for row in rows):
        one = next(row for row in rows if row["data_set"] == data_set)
        with_masks = any(row.get("masks_mean_iou") is not None for row in rows if row["data_set"] == data_set)
        parts.append(
            f"## {data_set}\n\nTruth: {_truth(one)}; centre box: mean IoU"
            f" {one.get('centre_box_mean_iou') or 0:.3f}, {100 * (one.get('centre_box_share_iou_50') or 0):.1f} % ≥ .5."
            " Mean ± 95 % interval over seeds.\n\n"
            f"| variant | top-1 % | mean IoU | ≥ .5 % | {'IoU, masks | ' * with_masks}MaxBoxAccV2 | stability |"
            " corrupted / clean | IoU corrupted | n |\n" + "|---" * (9 + with_masks) + "|"
        )
        for name in names:
            cells = by_cell.get((data_set, name))
            if cells:
                parts.append(_line(name, cells, with_masks))
        parts.append("")
    parts.append(_comparison(rows, names))
    return "\n".join(parts) + "\n"


def _truth(row: dict[str, Any]) -> str:
    """The truth of the column `mean IoU`, in words; rows from before boxes led name masks."""
    around = row.get("truth") == "boxes" and row.get("boxes_from") == "masks"
    return "boxes around the masks" if around else str(row.get("truth"))


def _line(name: str, cells: list[dict[str, Any]], with_masks: bool) -> str:
    def figure(key: str, factor: float = 1.0, digits: int = 3) -> str:
        values = [factor * cell[key] for cell in cells if cell.get(key) is not None]
        if not values:
            return ""
        return f"{np.mean(values):.{digits}f} ± {half_width(np.array(values)):.{digits}f}"

    alone = figure("first_look_top1", 100, 1)
    top1 = figure("top1", 100, 1) + (f" (first look alone {alone})" if alone else "")
    columns = [top1, figure("mean_iou"), figure("share_iou_50", 100, 1)]
    columns += [figure("masks_mean_iou")] * with_masks + [
        figure("max_box_acc_v2"),
        figure("stability"),
        figure("corruption_relative"),
    ]
    columns += [figure("corruption_stability"), str(len(cells))]
    return f"| {name} | " + " | ".join(columns) + " |"


def _comparison(rows: list[dict[str, Any]], names: list[str]) -> str:
    lines = ["## Top-1 against the baselines, points, pooled over datasets and seeds (paired)\n"]
    lines += ["| variant | minus none | p | minus position-wise | p | n |", "|---|---|---|---|---|---|"]
    top1: dict[str, dict[object, float]] = defaultdict(dict)
    for row in rows:
        top1[row["variant"]][row["data_set"], row["seed"]] = 100 * row["top1"]
    for name in names:
        plain = paired_difference(top1[name], top1["none"])
        positionwise = paired_difference(top1[name], top1["position-wise (CBAM)"])
        if plain and positionwise:
            lines.append(
                f"| {name} | {plain.mean:+.2f} [{plain.low:+.2f}, {plain.high:+.2f}] | {plain.p:.4f} |"
                f" {positionwise.mean:+.2f} [{positionwise.low:+.2f}, {positionwise.high:+.2f}] |"
                f" {positionwise.p:.4f} | {plain.n} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
