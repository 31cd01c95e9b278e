"""Parameter groups and rates, mixing, balancing, averaging, patience: each by its effect."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from command import rsam, stop_at_first_checkpoint
from safetensors.torch import load_file

from rsam_app.config import MixConfig, ModelConfig, TrainConfig, load_pipeline
from rsam_app.data.sampling import EpochBatches
from rsam_app.model import build_model
from rsam_app.system.errors import UserError
from rsam_app.training.mixing import mix
from rsam_app.training.optimizer import make_optimizer, warmup_cosine
from rsam_app.training.setup import balanced_weights

CLASSES = ("a", "b", "c")
EVERYTHING = [
    *("train.ema=0.9", "train.mix.mixup=0.4", "train.mix.cutmix=1", "train.mix.share=0.7", "train.accumulate=2"),
    *("train.layer_decay=0.8", "train.head_epochs=1", "train.optimizer=sgd", "train.learning_rate=0.01"),
    *("train.sampling=balanced", "train.best_by=macro_top1", "train.class_weights=balanced"),
]


def settings(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def model(**train: object) -> tuple[torch.nn.Module, TrainConfig]:
    torch.manual_seed(0)
    built = build_model(ModelConfig(backbone="test_resnet", weights="none", image_size=64), CLASSES)
    return built, TrainConfig(**train)  # type: ignore[arg-type]


def test_lower_layers_have_lower_rates_and_head_and_attention_their_own():
    built, config = model(layer_decay=0.5, learning_rate=1e-3)
    rates = {}
    for group in make_optimizer(built, config, fitted=True).param_groups:
        for parameter in group["params"]:
            rates[parameter] = group["lr"]
    assert set(rates) == set(built.parameters())
    assert {rates[p] for p in built.get_classifier().parameters()} == {3e-3}
    assert {rates[p] for p in built.attention.parameters()} == {config.attention_learning_rate}
    stem, first, last = (
        rates[p]
        for p in (
            built.backbone.conv1[0].weight,
            built.backbone.layer1[0].conv1.weight,
            built.backbone.layer4[0].conv1.weight,
        )
    )
    assert stem < first < last < 1e-3


def test_biases_and_norms_do_not_decay_and_each_parameter_is_in_one_group():
    built, config = model(weight_decay=0.1, attention_weight_decay=0.7)
    seen: list[torch.nn.Parameter] = []
    predictor = set(built.attention.predictor.parameters())
    for group in make_optimizer(built, config, fitted=False).param_groups:
        for parameter in group["params"]:
            seen.append(parameter)
            expected = 0.0 if parameter.ndim <= 1 else 0.7 if parameter in predictor else 0.1
            assert group["weight_decay"] == expected
    assert len(seen) == len(set(seen)) == len(list(built.parameters()))


def test_the_backbone_waits_and_then_warms_up_itself():
    built, config = model(optimizer="sgd", learning_rate=0.1)
    optimizer = make_optimizer(built, config, fitted=True)
    assert isinstance(optimizer, torch.optim.SGD)
    schedule = warmup_cosine(optimizer, warmup=2, total=12, wait=4)
    factors = []
    for _ in range(12):
        rates = zip(schedule.get_last_lr(), schedule.base_lrs, optimizer.param_groups, strict=True)
        factors.append({group["of_backbone"]: rate / base for rate, base, group in rates})
        optimizer.step()
        schedule.step()
    assert [f[True] for f in factors[:4]] == [0, 0, 0, 0]
    assert [f[True] for f in factors[4:7]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert [f[False] for f in factors[:3]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert factors[-1][True] < 0.2 and factors[-1][False] < 0.1


def test_mixup_and_cutmix_mix_by_the_returned_share():
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 20, 30).contiguous()
    for name in ("mixup", "cutmix"):
        shares = set()
        for seed in range(30):
            mixed = mix(images, MixConfig(**{name: 1.0, "share": 1.0}), (seed,))
            expected = mixed.share * images + (1 - mixed.share) * images[mixed.partner]
            assert torch.allclose(mixed.images.mean(dim=(1, 2, 3)), expected.mean(dim=(1, 2, 3)), atol=1e-4)
            if name == "cutmix":
                assert ((mixed.images == images) | (mixed.images == images[mixed.partner])).all()
            assert torch.equal(mixed.images, mix(images, MixConfig(**{name: 1.0, "share": 1.0}), (seed,)).images)
            shares.add(round(mixed.share, 3))
        assert len(shares) > 12 and 0 <= min(shares) < 0.2 and 0.8 < max(shares) <= 1


def test_only_a_share_of_the_batches_is_mixed():
    images, config = torch.zeros(4, 3, 8, 8), MixConfig(mixup=0.2, cutmix=1.0, share=0.3)
    mixed = sum(mix(images, config, (seed,)) is not None for seed in range(400))
    assert 80 < mixed < 160
    assert mix(images, MixConfig(), (0,)) is None
    assert mix(images[:1], config.model_copy(update={"share": 1.0}), (0,)) is None


def test_balanced_sampling_and_balanced_weights_treat_classes_equally():
    labels = np.array([0] * 90 + [1] * 9 + [3])  # class 2 has no image
    weights = balanced_weights(labels)
    assert [weights[labels == c].sum() for c in (0, 1, 3)] == pytest.approx([100 / 3] * 3)
    batches = EpochBatches(100, 10, 0, chances=weights / weights.sum())
    drawn = labels[np.concatenate([batches.order(epoch) for epoch in range(60)])]
    assert [np.mean(drawn == c) for c in (0, 1, 3)] == pytest.approx([1 / 3] * 3, abs=0.03)
    assert np.array_equal(batches.order(5), batches.order(5))


def test_a_batch_in_parts_is_the_same_update(tiny_pipeline, tmp_path):
    """Up to the order of summation; batch norm is frozen, for it would see the parts."""
    common = ["train.freeze_batch_norm=true", "train.epochs=2"]
    rsam("train", tiny_pipeline, "--run", tmp_path / "whole", *settings(common))
    rsam("train", tiny_pipeline, "--run", tmp_path / "parts", *settings([*common, "train.accumulate=3"]))
    rsam(
        *("train", tiny_pipeline, "--run", tmp_path / "twice"),
        *settings([*common, "train.gradient_checkpointing=true"]),
    )
    for other in ("parts", "twice"):
        for one, two in zip(log(tmp_path / "whole"), log(tmp_path / other), strict=True):
            assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)


@pytest.fixture(scope="module")
def run_with_everything(tiny_pipeline, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "everything"
    rsam("train", tiny_pipeline, "--run", run, *settings(EVERYTHING))
    return run


def test_both_weights_and_their_average_are_evaluated_and_the_better_is_saved(run_with_everything):
    entries = log(run_with_everything)
    assert all({"val_macro_top1", "ema_val_macro_top1", "ema_val_nll"} <= set(entry) for entry in entries)
    assert any(entry["ema_val_nll"] != entry["val_nll"] for entry in entries)
    kept = load_file(run_with_everything / "model" / "model.safetensors")
    state = torch.load(run_with_everything / "checkpoints" / "best" / "states.pt", weights_only=True)[3]
    averaged = {name.removeprefix("module."): values for name, values in state.items()}
    live = load_file(run_with_everything / "checkpoints" / "best" / "model.safetensors")
    chosen = max(entries, key=lambda e: (max(e["val_macro_top1"], e["ema_val_macro_top1"]), e["epoch"]))
    expected = averaged if chosen["ema_val_macro_top1"] >= chosen["val_macro_top1"] else live
    assert all(torch.equal(kept[name], expected[name]) for name in kept)


def test_a_killed_run_with_everything_resumes_to_the_very_same_weights(tiny_pipeline, run_with_everything, tmp_path):
    run = tmp_path / "killed"
    assert stop_at_first_checkpoint(signal.SIGKILL, run, tiny_pipeline, *settings(EVERYTHING)) == -signal.SIGKILL
    rsam("train", tiny_pipeline, "--run", run, *settings(EVERYTHING), "--resume")
    for name in ("model/model.safetensors", "checkpoints/last/model.safetensors"):
        expected, found = load_file(run_with_everything / name), load_file(run / name)
        assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_run_that_stops_improving_stops(tiny_pipeline, tmp_path):
    harsh = ["train.epochs=40", "train.patience=2", "train.best_by=nll", "train.learning_rate=0.03"]
    said = rsam("train", tiny_pipeline, "--run", tmp_path / "run", *settings(harsh)).stderr
    entries = log(tmp_path / "run")
    best = min(entries, key=lambda e: e["val_nll"])["epoch"]
    assert len(entries) == best + 2 < 40
    assert f"no epoch after {best} was better" in said


def test_impossible_settings_are_refused(tiny_pipeline):
    with pytest.raises(UserError, match="leaves the backbone none of 3 epochs"):
        load_pipeline(tiny_pipeline, ["train.head_epochs=3"])
    with pytest.raises(UserError, match=r"train\.mix mixes the images"):
        load_pipeline(tiny_pipeline, ["train.frozen_backbone=true", "train.cached_views=2", "train.mix.mixup=0.2"])
