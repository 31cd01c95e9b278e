"""Whether one small model of every family of timm's builds, runs, learns, reloads and exports with attention.

    python benchmarks/backbone_families.py [--families eva beit …] [--no-exports] [--minutes N]

A family is a module of timm. *Builds*: with RSAM, random weights and three classes; *runs*: a mask of ones leaves the
network's own logits; *in place*: noise in a quarter of the image changes the map more towards that corner than noise in
the quarters beside it; *learns*: every parameter of the attention gets a gradient; *reloads*: the saved model gives the
same logits to the last bit; *exports*: the checked ONNX and `torch.export` files, for any number of images or, if the
network's code fixes it, for one; by far the slowest part. Rows are added to
`benchmarks/results/backbone_families.jsonl`, so that an interrupted call resumes, and one without exports is completed
by a later call; the table, which names what was not tried, is written beside it.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from rsam_app.config import ModelConfig
from rsam_app.model import AttentiveClassifier, build_model, load_model, save_model
from rsam_app.model.attention.gating import gate
from rsam_app.model.export import export_model, format_of
from rsam_app.system.errors import UserError
from tests.model.families import MAPS, REFUSED, TOKENS, Member

RESULTS = Path(__file__).resolve().parent / "results" / "backbone_families.jsonl"
CLASSES = ("a", "b", "c")
STEPS = ("builds", "runs", "in_place", "learns", "reloads", "onnx", "torch_export")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    families = TOKENS | MAPS | {family: Member(name) for family, name in REFUSED.items()}
    parser.add_argument("--families", nargs="+", choices=families, default=list(families), metavar="FAMILY")
    parser.add_argument("--no-exports", action="store_true", help="leave the exports to a later call")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no family after so many")
    arguments = parser.parse_args()
    begun = time.monotonic()
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    for family in arguments.families:
        if any(row["family"] == family and _complete(row, arguments.no_exports) for row in rows):
            continue
        if time.monotonic() - begun > 60 * arguments.minutes:
            break
        rows = [row for row in rows if row["family"] != family]
        rows.append({"family": family, **_row(families[family], not arguments.no_exports)})
        print(json.dumps(rows[-1]), flush=True)
        RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        RESULTS.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(table(rows), encoding="utf-8")


def _complete(row: dict[str, Any], no_exports: bool) -> bool:
    return not row["builds"] or ("in_place" in row and (no_exports or "onnx" in row))


def _row(member: Member, exports: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"model": member.name, "side": member.side}
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=member.name, backbone_args=member.args, weights="none", image_size=member.side, second_look=False
    )
    try:
        model = build_model(config, CLASSES)
    except UserError as error:
        return row | {"builds": False, "why": str(error).splitlines()[0]}
    assert model.attention_module is not None
    with torch.no_grad():  # the initial state: an even map and zero heads have no gradients
        for parameter in (*model.attention_module.parameters(), *model.get_classifier().parameters()):
            parameter.add_(0.2 * torch.randn_like(parameter))
    images = torch.randn(2, 3, member.side, member.side)
    row |= {"features": type(model.layout).__name__.removesuffix("Layout").lower(), "builds": True}
    row |= {
        "runs": _runs(model.eval(), images),
        "in_place": _in_place(model, member.side),
        "learns": _learns(model, images),
    }
    with tempfile.TemporaryDirectory() as folder:
        save_model(model.eval(), Path(folder) / "model")
        with torch.no_grad():
            row["reloads"] = torch.equal(load_model(Path(folder) / "model")(images), model(images))
        for step, name in (("onnx", "model.onnx"), ("torch_export", "model.pt2")) if exports else ():
            row |= _exports(step, Path(folder) / "model", Path(folder) / name)
    return row


def _runs(model: AttentiveClassifier, images: torch.Tensor) -> bool:
    with torch.no_grad():
        maps, own = model.forward_features(images), model.backbone(images)
        ungated = model.forward_head(gate(maps, torch.ones(len(maps), *maps.shape[2:])))
    return torch.allclose(ungated, own, atol=1e-4 * float(own.abs().max()))


def _in_place(model: AttentiveClassifier, side: int) -> bool:
    """Whether it is; with few cells and random weights, False says little about a convnet."""
    model, half, images = copy.deepcopy(model).train().eval(), side // 2, torch.randn(8, 3, side, side)
    for name, biases in model.named_parameters():
        if name.endswith("attention_biases"):  # of LeViT, where random weights attend to all cells alike
            biases.data[:, 1:] = -20.0  # the first one is of a cell's own place
    centres = torch.zeros(2, 2, 2)
    with torch.no_grad():
        before = model.forward_features(images)
        for down in (0, 1):
            for right in (0, 1):
                noisy = images.clone()
                corner = noisy[:, :, down * half : (1 + down) * half, right * half : (1 + right) * half]
                corner.copy_(3 * torch.randn_like(corner))
                change = (model.forward_features(noisy) - before).abs().mean(dim=(0, 1))
                places = [torch.linspace(-1, 1, n) @ change.sum(dim=1 - i) for i, n in enumerate(change.shape)]
                centres[down, right] = torch.stack(places) / change.sum()
    return bool((centres[1, :, 0] > centres[0, :, 0]).all() and (centres[:, 1, 1] > centres[:, 0, 1]).all())


def _learns(model: AttentiveClassifier, images: torch.Tensor) -> bool:
    model.train()(images).square().sum().backward()
    module = model.attention_module
    assert module is not None
    return all(p.grad is not None and bool(p.grad.abs().max() > 0) for p in module.parameters())


def _exports(step: str, model: Path, out: Path) -> dict[str, Any]:
    """The largest difference from the model relative to an output's scale, and the batch; False if it does not export.
    With the reason if it does not for any number of images."""
    found: dict[str, Any] = {}
    for batch in (None, 1):
        try:
            written = export_model(model, out, format_of(out, None), batch)
            worst = max(difference.relative for difference in written.differences.values())
            return {step: worst, f"{step}_batch": batch or "any", **found}
        except UserError as error:
            found = {f"{step}_why": _line(error)}
        except Exception as error:  # the command would show a traceback
            found = {f"{step}_why": f"traceback: {type(error).__name__}: {_line(error)}"}
    return {step: False, **found}


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def table(rows: list[dict[str, Any]]) -> str:
    """Which steps each family passed, and why the others failed, as Markdown."""
    steps = " | ".join(STEPS).replace("torch_export", "torch.export").replace("_", " ")
    lines = [
        "# One model of each of timm's families with attention",
        "",
        "Random weights, see `benchmarks/backbone_families.py`; with few cells they may say `no` to the cells' place in"
        " a convnet. Exports: the largest difference from the model relative to the output's scale, and the number of"
        " images that the file takes; `not tried`: the benchmark's time was over.",
        "",
        f"| family | model | features | {steps} |",
        "|---" * (3 + len(STEPS)) + "|",
    ]
    for row in rows:
        cells = [_cell(row, step) for step in STEPS]
        lines.append(f"| {row['family']} | {row['model']} | {row.get('features', '')} | {' | '.join(cells)} |")
    notes = [f"- {row['family']}: {row[key]}" for row in rows for key in row if key.endswith("why")]
    return "\n".join([*lines, "", *notes]) + "\n"


def _cell(row: dict[str, Any], step: str) -> str:
    value = row.get(step, "not tried" if row["builds"] else "")
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.0e} ({row[f'{step}_batch']})"


if __name__ == "__main__":
    main()
