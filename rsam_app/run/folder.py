"""The run folder: all files of one pipeline execution, with one writer at a time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from rsam_app.config import REPOSITORY, Pipeline, read_pipeline
from rsam_app.config.validation import read_mapping
from rsam_app.system.errors import UserError
from rsam_app.system.files import create_private, locked, noting, write_atomically
from rsam_app.system.hardware import describe_hardware
from rsam_app.system.json_files import read_own
from rsam_app.system.paths import misread
from rsam_app.system.progress import is_main_process
from rsam_app.system.run_log import open_log

PACKAGES = ("rsam-app", "torch", "torchvision", "timm", "accelerate", "albumentations", "fiftyone", "scikit-learn")


OURS = ("lock", "log.txt", "log.txt.1")
"""Files that `RunFolder.writing` makes, which alone do not make a folder somebody else's."""

OBJECTS = ("stages", "data", "round", "discovery", "second_look", "adopted")
"""Entries of `run.json` that have entries of their own."""

LABELLING = "label"
"""Prefix of the FiftyOne fields of `rsam label`, where others have a run's key; no run has this key."""


class RunFolder:
    """Paths inside a run folder, and its `run.json`."""

    def __init__(self, path: Path) -> None:
        path = Path(os.path.expanduser(path))
        self.path = path
        self.config_path = path / "config.yaml"
        """The resolved pipeline with every value."""
        self.predictions = path / "predictions"
        """Folder of the predictions tables."""
        self.near_duplicates = path / "near_duplicates.parquet"
        """Table of the predicted images that show the same photograph."""
        self.model = path / "model"
        """Folder that `timm.create_model('local-dir:…')` loads."""
        self.known_classes = self.model / "known_classes.safetensors"
        """The model's classes in its embedding, which tell images of other classes."""
        self.checkpoints = path / "checkpoints"
        """Folder of the checkpoints `last` and `best`."""
        self.evaluation = path / "evaluation"
        """Folder of `metrics.json`, `report.html` and plots."""
        self.selection = path / "selection"
        """Folder of the selections, one CSV file each."""
        self.simulation = path / "simulation"
        """Folder of simulations: label-efficiency curves and label-error detection."""
        self.metrics_log = path / "metrics.jsonl"
        """One JSON line per epoch."""
        self.log = path / "log.txt"
        """What the commands that wrote the run reported, and what stopped them."""
        self.training_records = path / "training_records.json"
        """Ids of the images that the run was trained on, in the row order of the two files below."""
        self.learned_probabilities = path / "training_probabilities.npy"
        """The model's probabilities for each training image, averaged over the epochs."""
        self.held_out_probabilities = path / "held_out_probabilities.npy"
        """Cross-validated probabilities for each training image, from classifiers on pretrained features."""
        self.label_features = path / "label_features.npz"
        """Features of the photographs that `rsam label` shows, by the pretrained backbone."""
        self.next_to_label = path / "next_to_label.json"
        """The batch of `rsam label` that was chosen ahead."""
        self.labelled_in_app = path / "labelled_in_app"
        """An empty file: `rsam label` opened the App on the images, so labels may wait there."""

    @property
    def key(self) -> str:
        """The prefix of the run's FiftyOne fields: its name in letters, digits and underscores."""
        key = "".join(c if c.isascii() and c.isalnum() else "_" for c in self.path.resolve().name)
        return key if key[:1].isalpha() and key != LABELLING else f"run_{key}"

    def read_json(self) -> dict[str, Any]:
        """`run.json`: versions, commit, seeds, data fingerprint, timings, stages; empty if there is none yet.

        Raises `UserError` if it is damaged.
        """
        path, remedy = self.path / "run.json", "Remove it: finished stages then run again."
        content: dict[str, Any] = read_own(path, dict, remedy) if path.exists() else {}
        if wrong := _not_objects(content):
            raise UserError(f"{path}: is damaged ({wrong} is not an object). {remedy}")
        return content

    def read_metrics(self) -> dict[str, Any] | None:
        """`evaluation/metrics.json`; None before the evaluation. Raises `UserError` if it is damaged."""
        path = self.evaluation / "metrics.json"
        if not path.exists():
            return None
        remedy = f"Run `rsam evaluate {self.path}` again."
        metrics: dict[str, Any] = read_own(path, dict, remedy)
        if "split" not in metrics:
            raise UserError(f"{path}: is damaged (incomplete). {remedy}")
        return metrics

    @property
    def finished_stages(self) -> dict[str, Any]:
        """`run.json`'s entry for each stage that finished, by its name."""
        return dict(self.read_json().get("stages") or {})

    @property
    def corrections_of_round(self) -> int | None:
        """The number of corrections that this run's round began with; None for a run that is not a round. Raises
        `UserError` if `run.json` is damaged."""
        corrections = (self.read_json().get("round") or {}).get("corrections")
        if corrections is None:
            return None
        rows = corrections.get("rows") if isinstance(corrections, dict) else None
        if type(rows) is not int or rows < 0:
            raise UserError(
                f"{self.path / 'run.json'}: is damaged (round.corrections.rows is {rows!r}). Restore the file."
            )
        return rows

    def update_json(self, **values: Any) -> None:
        """Merge `values` into `run.json`, atomically; dictionaries merge one level deep."""
        content = self.read_json()
        for key, value in values.items():
            if isinstance(value, dict) and isinstance(content.get(key), dict):
                content[key] = {**content[key], **value}
            else:
                content[key] = value
        write_atomically(self.path / "run.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def load_pipeline(self) -> Pipeline:
        """The pipeline of this run. Raises `UserError` if the folder is not a run."""
        if not self.config_path.exists():
            raise UserError(
                f"{self.path}: not a run folder (no config.yaml).{misread(self.path)}"
                " Give a folder that `rsam train` made."
            )
        return read_pipeline(self.config_path)

    def save_pipeline(self, pipeline: Pipeline) -> None:
        """Write the resolved pipeline. Raises `UserError` if the folder belongs to another pipeline."""
        self._create()
        self.refuse_foreign(pipeline.name)
        dumped = yaml.safe_dump(pipeline.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(self.config_path, dumped)

    def refuse_foreign(self, pipeline: str) -> None:
        """Raise `UserError` if this is a file, another pipeline's run, or a folder with other content."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file, not a run folder. Give another path with --run.")
        if self.config_path.exists():
            owner = read_mapping(self.config_path).get("name")
            if owner != pipeline:
                raise UserError(
                    f"{self.path}: this run folder belongs to the pipeline {owner!r}, not {pipeline!r}.\n"
                    "Give another folder with --run, or remove this one."
                )
        elif self.path.exists() and not all(p.name in OURS or p.suffix == ".partial" for p in self.path.iterdir()):
            raise UserError(f"{self.path}: the folder is not empty and not a run. Give another folder with --run.")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the run for writing, and log what is reported meanwhile; the lock ends with the process. Raises
        `UserError` if another process has it."""
        self._create()
        path = self.path / "lock"
        with ExitStack() as stack:
            try:
                stream = stack.enter_context(locked(path, wait=False))
            except BlockingIOError as error:
                owner = path.read_text(encoding="utf-8").strip() or "unknown"
                raise UserError(
                    f"{self.path}: another process ({owner}) is writing this run.\n"
                    "Wait until it ends, or give another folder with --run."
                ) from error
            except OSError as error:
                raise UserError(
                    f"{path}: cannot be opened ({error.strerror}).\nMake its folder writable, or work on a copy."
                ) from error
            with noting(path):
                os.ftruncate(stream.fileno(), 0)  # unbuffered: on a full disk, closing would fail once more
                os.write(stream.fileno(), f"process {os.getpid()} on {platform.node()}".encode())
            stack.enter_context(open_log(self.log, " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])))
            yield

    def _create(self) -> None:
        if not self.path.exists() and (wrong := misread(self.path)):
            raise UserError(f"--run {self.path}: cannot be created.{wrong}")
        try:
            create_private(self.path)
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot create this run folder ({error}). Give another with --run."
            ) from error

    def writing_on_main(self) -> AbstractContextManager[None]:
        """`writing` on the main process of a launch; no lock on the others."""
        return self.writing() if is_main_process() else nullcontext()

    def stage_done(self, stage: str, inputs: str) -> bool:
        """Whether `stage` finished with these inputs (a fingerprint)."""
        return bool(self.finished_stages.get(stage, {}).get("inputs") == inputs)

    def finish_stage(self, stage: str, inputs: str, seconds: float) -> None:
        """Record that `stage` finished with these inputs."""
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.update_json(stages={stage: {"inputs": inputs, "seconds": round(seconds, 1), "ended": ended}})


def _not_objects(content: Mapping[str, Any]) -> str | None:
    """The first entry of a `run.json`, or of its stages, that is not an object although others read it as one."""
    entries = {name: content[name] for name in OBJECTS if content.get(name) is not None}
    stages = entries.get("stages")
    entries |= {f"stages.{name}": stage for name, stage in stages.items()} if isinstance(stages, dict) else {}
    return next((name for name, entry in entries.items() if not isinstance(entry, dict)), None)


def environment() -> dict[str, Any]:
    """Versions, commit and hardware for `run.json`."""
    return {
        "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "commit": _commit(),
        "hardware": describe_hardware(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # e.g. FiftyOne, on a machine that only trains
        return None


def _commit() -> str | None:
    if not (REPOSITORY / ".git").exists():  # installed: git would report another repository's commit
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:  # no git on this machine
        return None
    return result.stdout.strip() or None
