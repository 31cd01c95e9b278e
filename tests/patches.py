"""Coloured patches on grounds that may give their class away, a pipeline for them, and a reviewer's rectangles."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
import yaml
from safetensors.torch import save_file

from rsam_app.run.corrections import Correction, add_corrections, corrections_path, now
from rsam_app.run.job import Job
from rsam_app.system.progress import Reporter

COLORS = {"red": (220, 40, 40), "green": (40, 200, 60)}
GROUNDS = {"red": (40, 40, 160), "green": (160, 160, 40)}


def write_set(folder: Path, usual: float) -> Path:
    """Patches on grounds, each class on its own with probability `usual`; returns a pipeline."""
    draws, rows = np.random.default_rng(0), ["path,label,split,x,y,width,height"]
    for number in range(96):
        label = list(COLORS)[number % 2]
        other = list(COLORS)[1 - number % 2]
        ground = GROUNDS[label if draws.random() < usual else other]
        image = np.clip(np.array(ground) + draws.normal(0, 8, (64, 64, 3)), 0, 255).astype(np.uint8)
        image[24:40, 24:40] = np.array(COLORS[label]) + draws.normal(0, 8, (16, 16, 3)).astype(int)
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
        rows.append(f"{number}.png,{label},{'val' if number >= 64 else 'train'},24,24,16,16")
    (folder / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    card = {"name": "patches", "layout": "manifest", "root": str(folder / "manifest.csv"), "licence": "CC0"}
    (folder / "patches.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    weights = folder / "test_resnet.safetensors"
    if not weights.exists():
        torch.manual_seed(0)
        save_file(timm.create_model("test_resnet").state_dict(), weights)
    pipeline = {
        "dataset": str(folder / "patches.yaml"),
        "model": {"backbone": "test_resnet", "weights": str(weights), "image_size": 64},
        "train": {"frozen_backbone": True, "workers": 0, "epochs": 1, "precision": "float32", "trackers": []},
    }
    (folder / "patches_run.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    return folder / "patches_run.yaml"


def answered(pipeline: Path, *overrides: str) -> Job:
    """A job in which a reviewer drew twelve rectangles."""
    job = Job.of_pipeline(str(pipeline), list(overrides), pipeline.parent / "runs" / "run", Reporter())
    job.run.path.mkdir(parents=True, exist_ok=True)
    job.create_run()
    rectangle = json.dumps([32.0, 32.0, 16.0, 16.0, 0.0])
    ids = [record.id for record in job.original.split("train")[:12]]
    rows = [Correction(key, "rectangle", "", rectangle, "someone", now(), "run") for key in ids]
    add_corrections(corrections_path(job.run.path, job.original.name), rows)
    return job
