"""Settings that leave processes without images, or batch norm with a single value, are refused by key."""

from __future__ import annotations

import json

import pytest
import torch

from rsam_app.config import load_pipeline
from rsam_app.model import build_model
from rsam_app.system.errors import UserError
from rsam_app.training.setup import refuse_single_images, smallest_part
from tests.command import rsam


def config(pipeline, *overrides: str):
    return load_pipeline(pipeline, [f"train.{override}" for override in overrides]).train


def test_smallest_part_counts_processes_and_accumulation(tiny_pipeline):
    assert smallest_part(config(tiny_pipeline, "batch_size=8"), 24, 1) == 8
    assert smallest_part(config(tiny_pipeline, "batch_size=8"), 9, 1) == 1
    assert smallest_part(config(tiny_pipeline, "batch_size=8"), 9, 2) == 4  # the rest of one image is left out
    assert smallest_part(config(tiny_pipeline, "batch_size=8", "accumulate=4"), 24, 2) == 1
    for images, size, processes in ((24, 1, 2), (1, 8, 2)):
        with pytest.raises(UserError, match=rf"train\.batch_size: .*(?s:.)*--processes {min(images, size)}"):
            smallest_part(config(tiny_pipeline, f"batch_size={size}"), images, processes)


def test_a_single_image_is_refused_only_if_batch_norm_sees_one_value(tiny_pipeline):
    small = ["model.backbone=resnet10t", "model.image_size=32"]
    for overrides, fails in (
        (small, True),
        ([*small, "train.freeze_batch_norm=true"], False),
        ([*small, "train.frozen_backbone=true"], False),
        ([small[0], "model.image_size=64"], False),
    ):
        pipeline = load_pipeline(tiny_pipeline, overrides)
        model = build_model(pipeline.model, ("a", "b"))
        before, state = model.state_dict(), torch.get_rng_state()
        before = {name: values.clone() for name, values in before.items()}
        if fails:
            with pytest.raises(UserError, match=r"train\.batch_size.*(?s:.)*train\.freeze_batch_norm: true"):
                refuse_single_images(pipeline, model)
        else:
            refuse_single_images(pipeline, model)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_a_last_batch_of_one_ends_training_in_two_lines(tiny_pipeline, tmp_path):
    settings = ["model.backbone=resnet10t", "train.batch_size=7", "train.epochs=1"]  # 22 images are trained on
    words = [word for setting in settings for word in ("--set", setting)]
    done = rsam("train", tiny_pipeline, "--run", tmp_path / "run", *words, check=2)
    message = done.stderr.partition("rsam: ")[2].splitlines()
    assert (
        len(message) == 2 and message[0].startswith("train.batch_size: 7") and "train.freeze_batch_norm" in message[1]
    )


def test_run_json_keeps_the_share_of_tensors_that_arrived(tiny_pipeline, tmp_path):
    network = build_model(load_pipeline(tiny_pipeline).model, ("a",)).backbone
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "a.pth")
    words = ["--set", f"model.weights={tmp_path / 'a.pth'}", "--set", "train.epochs=1"]
    done = rsam("train", tiny_pipeline, "--run", tmp_path / "run", *words)
    weights = json.loads((tmp_path / "run" / "run.json").read_text())["weights"]
    assert weights["source"] == str(tmp_path / "a.pth") and weights["arrived"] == 1.0
    assert f"{weights['tensors']} of {weights['tensors']} tensors loaded" in done.stdout + done.stderr
