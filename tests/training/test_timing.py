"""Times of a training run: nothing lost, nothing counted twice."""

from __future__ import annotations

import json
import time

import pytest
from command import rsam

from rsam_app.training.timing import TimeSpent, as_shares


def test_all_items_are_yielded_and_waiting_is_not_computing():
    spent = TimeSpent()

    def slow_items():
        for i in range(3):
            time.sleep(0.02)
            yield i

    begun, seen = time.perf_counter(), []
    for item in spent.drawing(slow_items(), "waiting"):
        with spent.on("computing"):
            time.sleep(0.005)
            seen.append(item)
    whole = time.perf_counter() - begun
    assert seen == [0, 1, 2]
    assert spent.seconds["waiting"] >= 0.06 and spent.seconds["computing"] >= 0.015
    assert sum(spent.seconds.values()) <= whole


def test_taking_resets_the_count_and_errors_are_counted_too():
    spent = TimeSpent()
    with pytest.raises(ZeroDivisionError), spent.on("computing"):
        _ = 1 / 0
    assert spent.take("computing") > 0
    assert spent.take("computing") == 0


def test_shares_are_of_the_whole():
    assert as_shares({"computing": 45.0, "saving": 5.0}) == "50 s: 90 % computing, 10 % saving"
    assert as_shares({"computing": 0.0}) == "0 s: 0 % computing"


def test_a_run_reports_its_use_of_time(tiny_pipeline, tmp_path):
    said = rsam("train", tiny_pipeline, "--run", tmp_path / "run", "--set", "train.epochs=2").stderr
    lines = [line for line in said.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    for line in lines:
        assert all(f"% {what}" in line for what in ("computing", "waiting for data", "validating", "saving"))
    for row in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()):
        assert 0 <= row["data_wait"] <= 1 and row["seconds"] >= 0 and row["validation_seconds"] >= 0
