"""The variants of `benchmarks/attention.py`, and the training and measurement of one of them with one seed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frozen.features import CORRUPTED, CPU, SIDE, AttentiveOutput, FrozenData, gather, make_backbone
from rsam_app.config import SignalsConfig, TrainConfig
from rsam_app.data.splits import complete_splits
from rsam_app.evaluation.inference.grad_cam import cam_from_gradients
from rsam_app.evaluation.metrics.ground_truth import true_edges, truth_kinds
from rsam_app.evaluation.metrics.localization import localization
from rsam_app.evaluation.robustness.map_localization import map_localization
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.overlap import rotated_iou
from rsam_app.model import AttentiveClassifier
from rsam_app.model.attention import RSAM, PositionwiseAttention
from rsam_app.model.attention.gating import gate
from rsam_app.model.attention.second_look import LOOSE, upright_crop
from rsam_app.model.preprocess import normalise
from rsam_app.system.precision import autocast, choose_precision
from rsam_app.training import losses
from rsam_app.training.decision_weights import REVIEWED_WEIGHT
from rsam_app.training.optimizer import parameter_groups, warmup_cosine
from rsam_app.training.warm_start import fit_attention, fit_classifier

EPOCHS, BATCH = 8, 32
STAGES = (96, 320)
"""Channels of MobileNetV2's last two stages."""

CONFIG = TrainConfig(frozen_backbone=True, epochs=EPOCHS, batch_size=BATCH)


@dataclass(frozen=True)
class Variant:
    """Settings of a cell: the attention, its predictor, whether it learns from discovered targets, the share of
    training images with a corrected rectangle, signals, and RSAM's arguments if its gate differs."""

    name: str
    attention: str
    predictor: str = "profiles"
    discovered: bool = False
    corrected: float = 0.0
    signals: SignalsConfig = field(default_factory=SignalsConfig)
    second_look: bool = False
    larger_input: bool = False
    gating: dict[str, Any] = field(default_factory=dict)


RESIDUAL = {"gating": "residual"}

VARIANTS = (
    Variant("none", "none"),
    Variant("position-wise (CBAM)", "positionwise"),
    Variant("position-wise (CBAM), plain gating", "positionwise", gating={"plain": True}),
    Variant("position-wise (1 × 1 map)", "conv_map"),
    Variant("RSAM", "rsam", discovered=True),
    Variant("RSAM, 10 % corrected", "rsam", discovered=True, corrected=0.1),
    Variant("none, 320 px", "none", larger_input=True),
    # Compared with the residual form, the previous default.
    Variant("RSAM, residual gating", "rsam", discovered=True, gating=RESIDUAL),
    Variant("RSAM, second look", "rsam", discovered=True, second_look=True, gating=RESIDUAL),
    Variant("RSAM, normalised gating", "rsam", discovered=True, gating={"gating": "normalised"}),
    Variant("RSAM, tight gate", "rsam", discovered=True, gating={"reach": "tight"}),
    Variant("RSAM, regression", "rsam", "regression", discovered=True, gating=RESIDUAL),
    Variant("RSAM, moments", "rsam", "moments", discovered=True, gating=RESIDUAL),
    Variant("RSAM, 1 % corrected", "rsam", discovered=True, corrected=0.01, gating=RESIDUAL),
    Variant("RSAM, 10 % corrected, residual gating", "rsam", discovered=True, corrected=0.1, gating=RESIDUAL),
    Variant("RSAM, all corrected", "rsam", corrected=1.0, gating=RESIDUAL),
    Variant("RSAM, no signal", "rsam", gating=RESIDUAL),
    *(
        Variant(f"RSAM moments, {name}", "rsam", "moments", signals=SignalsConfig(**weights), gating=RESIDUAL)
        for name, weights in {
            "no signal": {},
            "equivariance": {"equivariance": 1.0},
            "outside": {"outside": 1.0},
            "outside + area": {"outside": 1.0, "area": 0.5},
            "border": {"border": 1.0},
        }.items()
    ),
    Variant(
        "RSAM, targets + equivariance",
        "rsam",
        discovered=True,
        signals=SignalsConfig(equivariance=1.0),
        gating=RESIDUAL,
    ),
)


def run_cell(variant: Variant, data: FrozenData, weights: Path, seed: int) -> dict[str, Any]:
    """Train one variant on the training images that `seed` does not hold out; returns its figures on the test
    images."""
    torch.manual_seed(seed)
    model = make_backbone(weights, data.dataset.classes, variant.attention, variant.predictor)
    if variant.gating and variant.attention == "positionwise":
        model.attention = PositionwiseAttention(model.num_features, **variant.gating)
    elif variant.gating:
        model.attention = RSAM(model.num_features, variant.predictor, STAGES, **variant.gating)
    records, _ = complete_splits([replace(r, split="train") for r in data.training], seed, hold_out_test=False)
    used = np.array([i for i, r in enumerate(records) if r.split == "train"])
    if variant.larger_input:
        return _larger(model, data, used)
    _train(model, variant, data, used, seed)
    row = _measure(model, data)
    return (row | _rescan(model, data, used)) if variant.second_look else row


def _targets(variant: Variant, data: FrozenData, used: np.ndarray, seed: int) -> dict[str, tuple[Any, float]]:
    """Rectangles with their weights by record id, merged as in training."""
    found: dict[str, tuple[Any, float]] = {}
    if variant.discovered:
        found = {key: (value, 1.0) for key, value in data.discovered.items()}
    if variant.corrected:
        kind = truth_kinds(data.training)[0]
        draws = np.random.default_rng(seed)
        for row in draws.permutation(used)[: max(1, round(variant.corrected * len(used)))]:
            edges = true_edges(data.training[row], kind)
            if len(edges):
                left, top, right, bottom = (float(v) for v in edges[0])
                place = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, 0.0)
                found[data.training[row].id] = (place, REVIEWED_WEIGHT)
    return found


def _train(model: AttentiveClassifier, variant: Variant, data: FrozenData, used: np.ndarray, seed: int) -> None:
    targets = _targets(variant, data, used, seed)
    weight = torch.tensor([targets[r.id][1] if r.id in targets else 0.0 for r in data.training])
    placed = [data.targets({k: v for k, (v, _) in targets.items()}, v) for v in range(len(data.training_views))]
    labels = torch.from_numpy(data.labels)
    whole = data.training_views[0]
    if isinstance(model.attention, RSAM) and targets:
        half = [torch.from_numpy(np.asarray(one[used])) for one in (whole.maps, *whole.stages)]
        evidence = model.attention.evidence(half[0], half[1:])
        decay = CONFIG.attention_weight_decay
        fit_attention(model.attention, evidence, placed[0][0][used], weight[used], seed, decay)
    embeddings = torch.cat([_forward(model, whole.output(part))[1] for part in np.array_split(used, 12)])
    fit_classifier(model.get_classifier(), embeddings, labels[used])  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(parameter_groups(model, CONFIG, fitted=True))
    updates = -(-len(used) // BATCH)
    schedule = warmup_cosine(optimizer, updates, EPOCHS * updates)
    draws = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        order = draws.permutation(used)
        for rows in np.array_split(order, updates):
            views = draws.integers(len(data.training_views), size=(2, len(rows)))
            loss = _loss(model, variant, data, rows, views, labels, placed, weight)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()


def _loss(
    model: AttentiveClassifier,
    variant: Variant,
    data: FrozenData,
    rows: np.ndarray,
    views: np.ndarray,
    labels: Tensor,
    placed: list[tuple[Tensor, Tensor]],
    weight: Tensor,
) -> Tensor:
    features, stages = gather(data.training_views, rows, views[0])
    result = model.attend(features, stages)
    logits = model.forward_head(result.features if result else features)
    loss = losses.classification(logits, labels[rows], CONFIG.label_smoothing).mean()
    if result is None or variant.attention != "rsam":
        return loss
    cells, share = features.shape[3], variant.signals
    target = torch.stack([placed[v][0][r] for v, r in zip(views[0], rows, strict=True)])
    shown = torch.stack([placed[v][1][r] for v, r in zip(views[0], rows, strict=True)])
    loss = loss + (losses.to_target(result.rectangle, target, cells) * weight[rows] * shown).mean()
    if share.area:
        loss = loss + share.area * losses.area(result.rectangle, cells).mean()
    if share.border:
        loss = loss + share.border * losses.border(result.rectangle, cells).mean()
    if share.outside:
        outside = model.forward_head(gate(features, 1 - result.mask))
        loss = loss + share.outside * losses.outside_suffices(outside).mean()
    if share.equivariance:
        other = model.attend(*gather(data.training_views, rows, views[1]))
        to_view = geometry.compose(geometry.invert(_affine(data, rows, views[1])), _affine(data, rows, views[0]))
        assert other is not None
        to_view = to_view * torch.tensor([1.0, 1.0, cells / SIDE])  # from pixels to cells: shifts shrink
        moved = losses.equivariance(result.rectangle, other.rectangle, to_view, cells)
        loss = loss + share.equivariance * moved.mean()
    return loss


def _affine(data: FrozenData, rows: np.ndarray, views: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([data.training_views[v].to_image[r] for v, r in zip(views, rows, strict=True)]))


@torch.no_grad()
def _forward(model: AttentiveClassifier, output: AttentiveOutput) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits, embeddings and rectangles in pixels of the input."""
    result = model.attend(output.features, output.stages)
    seen = result.features if result else output.features
    place = geometry.rescale(result.rectangle, output.features.shape[2:], (SIDE, SIDE)) if result else None
    return model.forward_head(seen), model.forward_head(seen, pre_logits=True), place


def look_at(model: AttentiveClassifier, data: FrozenData, view: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits `(N, C)` and rectangles `(N, 5)` in image pixels of one view of the test images."""
    chosen = data.test_views[view]
    logits, rectangles = [], []
    for rows in np.array_split(np.arange(len(data.test)), max(1, len(data.test) // 128)):
        said, _, place = _forward(model, chosen.output(rows))
        logits.append(said.numpy())
        if place is not None:
            rectangles.append(geometry.transform(place, torch.from_numpy(chosen.to_image[rows])).numpy())
    return np.concatenate(logits), np.concatenate(rectangles) if rectangles else None


def _measure(model: AttentiveClassifier, data: FrozenData) -> dict[str, Any]:
    model.eval()
    logits, rectangles = look_at(model, data, "clean")
    row: dict[str, Any] = {"top1": _top1(logits, data)}
    corrupted = {name: look_at(model, data, name) for name in CORRUPTED}
    row["corruption_relative"] = float(np.mean([_top1(said, data) for said, _ in corrupted.values()])) / row["top1"]
    if rectangles is None:
        row |= _located(map_localization(_class_activation(model, data), data.test, data.training))
        return row
    row |= _located(localization(rectangles, data.test, data.training))
    moved = [look_at(model, data, view)[1] for view in ("mirrored", "cropped")]
    row["stability"] = float(np.mean([rotated_iou(rectangles, other).mean() for other in moved if other is not None]))
    row["corruption_stability"] = float(
        np.mean([rotated_iou(rectangles, other).mean() for _, other in corrupted.values() if other is not None])
    )
    return row


def _larger(model: AttentiveClassifier, data: FrozenData, used: np.ndarray) -> dict[str, Any]:
    """Top-1 of the plain model on larger inputs, with a head fitted in the same way."""
    fit_classifier(
        model.get_classifier(),  # type: ignore[arg-type]
        torch.from_numpy(data.larger["training"][used]),
        torch.from_numpy(data.labels[used]),
    )
    with torch.no_grad():
        logits = model.get_classifier()(torch.from_numpy(data.larger["test"]))
    return {"top1": _top1(logits.numpy(), data)}


def _rescan(model: AttentiveClassifier, data: FrozenData, used: np.ndarray) -> dict[str, Any]:
    """Top-1 of a head fitted to both looks at the training images: for the first look, the second, and both."""
    whole = data.training_views[0]
    parts = np.array_split(used, max(1, len(used) // 64))
    first = torch.cat([_forward(model, whole.output(rows))[1] for rows in parts])
    second = torch.cat([_embed_crops(model, whole.output(rows), data.pixels["training"][rows]) for rows in parts])
    labels = torch.from_numpy(data.labels[used])
    head = model.get_classifier()
    fit_classifier(head, torch.cat([first, second]), torch.cat([labels, labels]))  # type: ignore[arg-type]
    clean = data.test_views["clean"]
    parts = np.array_split(np.arange(len(data.test)), max(1, len(data.test) // 64))
    with torch.no_grad():
        looks = [head(torch.cat([_forward(model, clean.output(rows))[1] for rows in parts]))]
        crops = [_embed_crops(model, clean.output(rows), data.pixels["test"][rows]) for rows in parts]
        looks.append(head(torch.cat(crops)))
    names = ("first_look_top1", "second_look_top1")
    row = {name: _top1(logits.numpy(), data) for name, logits in zip(names, looks, strict=True)}
    return row | {"top1": _top1((looks[0] + looks[1]).numpy(), data)}


@torch.no_grad()
def _embed_crops(model: AttentiveClassifier, output: AttentiveOutput, pixels: np.ndarray) -> Tensor:
    """Embeddings `(B, D)` of the crops along the rectangles of the first look."""
    place = _forward(model, output)[2]
    assert place is not None
    images = normalise(torch.from_numpy(np.ascontiguousarray(pixels)), model, CPU)
    crops = upright_crop(images, geometry.rescale(place, (SIDE, SIDE), images.shape[2:]), SIDE, SIDE, LOOSE)
    with autocast(choose_precision("auto", CPU), CPU):
        maps = model.forward_features(crops.contiguous(memory_format=torch.channels_last))
    return model.forward_head(maps.float(), pre_logits=True)


def _class_activation(model: AttentiveClassifier, data: FrozenData) -> np.ndarray:
    """Grad-CAM of the predicted class on the feature map."""
    maps = []
    for rows in np.array_split(np.arange(len(data.test)), max(1, len(data.test) // 128)):
        features = data.test_views["clean"].output(rows).features.requires_grad_()
        model.forward_head(features).amax(dim=1).sum().backward()
        assert features.grad is not None
        maps.append(cam_from_gradients(features.detach(), features.grad).numpy())
    return np.concatenate(maps)


def _located(found: dict[str, Any]) -> dict[str, Any]:
    overlap = ("mean_iou", "share_iou_50", "centre_box_mean_iou", "centre_box_share_iou_50")
    masks = {f"masks_{key}": found["masks"][key] for key in overlap if "masks" in found}
    return {key: found[key] for key in ("truth", "boxes_from", *overlap, "max_box_acc_v2")} | masks


def _top1(logits: np.ndarray, data: FrozenData) -> float:
    return float((logits.argmax(axis=1) == data.test_labels).mean())
