"""Kills commands with SIGKILL at uniformly random moments, gives them again, and compares the result with that of an
undisturbed one: `make soak KILLS=100`.

Every trial works on a copy of the same state, on generated images and a tiny network. `run` covers discovery, warm
start, epochs, checkpoints, evaluation, prediction, review and selection. `fuzz.py` damages files instead.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import timm
import torch
import yaml
from safetensors.torch import save_file

from rsam_app.cli import main as main_of_rsam
from rsam_app.data.synthetic import generate
from rsam_app.export.data_card import CHECKSUMS
from rsam_app.run.corrections import Correction, add_corrections, corrections_path, read_corrections
from rsam_app.system.mongodb.connection import import_fiftyone

NAME = "soak"
BACKBONE = "test_resnet"
TRAIN = {"epochs": 2, "batch_size": 16, "workers": 0, "trackers": []}
Result = dict[str, Any]
IMPORTED = multiprocessing.get_context("forkserver")
"""Forks the commands from a process that has imported what they need: imports take longer than what they do, and a kill
meanwhile shows nothing."""
IMPORTED.set_forkserver_preload(
    [
        *("rsam_app.cli", "rsam_app.workflow.stages", "rsam_app.evaluation.report.write", "timm", "torchvision"),
        *("pandas", "mongoengine", "motor", "plotly", "scipy.stats", "skimage.measure", "starlette", "strawberry"),
    ]
)


@dataclass(frozen=True)
class Case:
    """A command, given as words with the folder of the trial, and what it leaves there."""

    name: str
    words: Callable[[Path], Sequence[object]]
    result: Callable[[Path], Result]
    base: Path | None = None
    """A folder that each trial starts from a copy of."""
    done: str = ""
    """What the command says when it is given again although the killed one had done everything."""


def give(words: Sequence[object], kill_after: float | None = None) -> float:
    """Give a command in a process group of its own, killed after some seconds; return how long it ran. Raises
    `RuntimeError` if it fails by itself."""
    begun = time.monotonic()
    with tempfile.NamedTemporaryFile("r", errors="replace") as said:
        process = IMPORTED.Process(target=_command, args=([*map(str, words)], said.name))
        process.start()
        process.join(kill_after)
        if process.exitcode is None:
            with suppress(ProcessLookupError):  # it has no group yet
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.kill()
            process.join()
        elif process.exitcode:
            raise RuntimeError(f"rsam {' '.join(map(str, words))}: exit code {process.exitcode}\n{said.read()}")
    return time.monotonic() - begun


def _command(words: Sequence[str], errors: str) -> None:
    """The command in the new process."""
    os.setsid()
    for number, path in ((0, os.devnull), (1, os.devnull), (2, errors)):
        os.dup2(os.open(path, os.O_RDWR), number)
    sys.argv = ["rsam", *words]
    try:
        main_of_rsam()
    finally:
        atexit._run_exitfuncs()  # the processes of multiprocessing leave them out


def give_again(case: Case, folder: Path) -> None:
    """Give a killed command again; raise `RuntimeError` if it fails, unless there was nothing left to do."""
    try:
        give(case.words(folder))
    except RuntimeError as error:
        if not case.done or case.done not in str(error):
            raise


def in_run(run: Path) -> Result:
    """What the stages left in a run folder, without times and places."""
    tables = {path.name: pq.read_table(path).to_pylist() for path in sorted((run / "predictions").glob("*.parquet"))}
    selected = [path.read_text() for path in sorted((run / "selection").glob("*.csv"))]
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    return {
        "model": hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest(),
        "predictions": tables,
        "metrics": {name: metrics.get(name) for name in ("top1", "localization", "calibration")},
        "selection": selected,
        "left over": sorted(p.name for p in run.rglob("*") if ".partial" in p.name or p.name == "replaced"),
    }


def in_fiftyone(dataset: str, key: str) -> Result:
    """The samples of a review dataset, without ids and times."""
    fo = import_fiftyone()
    review_set = fo.load_dataset(dataset)
    review_set.reload()
    names = ["record_id", "ground_truth.label", "tags", f"{key}_prediction.label", f"{key}_misattention"]
    return {"samples": sorted(zip(*review_set.values(names), strict=True)), "views": review_set.list_saved_views()}


def files_in(folder: Path) -> Result:
    """Digests of all files in a folder but the data card, which has the time, and the list of digests, as it has the
    card's."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    same = [path for path in files if path.name not in ("DATA_CARD.md", CHECKSUMS)]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in same}


def write_weights(path: Path) -> Path:
    """Random weights of the backbone, as if they were pretrained."""
    torch.manual_seed(0)
    save_file(timm.create_model(BACKBONE).state_dict(), path)
    return path


def write_pipeline(folder: Path, images: Path, dataset: str) -> Path:
    """Write a card and a pipeline into `folder`; return the pipeline."""
    folder.mkdir(parents=True, exist_ok=True)
    model = {"backbone": BACKBONE, "weights": str(images.with_name("weights.safetensors")), "image_size": 64}
    card = {"name": dataset, "layout": "manifest", "root": str(images / "manifest.csv")}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    settings = {"dataset": str(folder / "card.yaml"), "model": model, "train": TRAIN, "select": {"budget": 5}}
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(settings))
    return folder / f"{NAME}.yaml"


def make_cases(work: Path) -> tuple[list[Case], dict[str, tuple[Result, float]]]:
    """The cases, after an undisturbed run and some decisions about it; and by name the result and the seconds of that
    run."""
    images = work / "images"
    generate(images, images_per_species=10, species=4)
    write_weights(work / "weights.safetensors")

    def whole(folder: Path) -> Sequence[object]:
        # A dataset of its own, so that nothing of another trial is in the database.
        return "run", write_pipeline(folder, images, f"{NAME}-{folder.name}"), "--run", folder / "runs" / "one"

    def after_whole(folder: Path) -> Result:
        return in_run(folder / "runs" / "one") | in_fiftyone(f"{NAME}-{folder.name}", "one")

    base = work / "base"
    seconds = give(whole(base))
    undisturbed = {"run": (after_whole(base), seconds)}
    dataset = f"{NAME}-{base.name}"
    table = corrections_path(base / "runs" / "one", dataset)
    shown = import_fiftyone().load_dataset(dataset)
    training = shown.match({"split": "train"}).sort_by("record_id").values("record_id")
    classes = shown.distinct("ground_truth.label")
    chosen = shown.select_by("record_id", training[:6])
    chosen.set_values("ground_truth.label", [classes[0]] * 6)
    chosen.set_values("review", ["wrong label"] * 6)
    undecided = work / "undecided"
    shutil.copytree(base, undecided)
    rows = [Correction(i, "label", "", classes[0], "Ann", "2025-01-01T00:00:00Z", "one") for i in training[:6]]
    add_corrections(table, rows)

    def second(folder: Path) -> Sequence[object]:
        return "run", folder / f"{NAME}.yaml", "--run", folder / "runs" / "one", "--round"

    def after_second(folder: Path) -> Result:
        run = folder / "runs" / "one-round2"
        return in_run(run) | {"change": json.loads((run / "run.json").read_text())["round"]["change"]}

    def decided(folder: Path) -> Result:
        found = read_corrections(corrections_path(folder / "runs" / "one", dataset))
        return {"corrections": [(c.id, c.kind, c.before, c.after) for c in found]}

    def exported(folder: Path) -> Sequence[object]:
        out = folder / "subset"
        if out.exists():  # what was killed leaves either nothing or the whole
            shutil.rmtree(out)
        return "export", folder / "runs" / "one", out, "--tag", "relabel", "--format", "folder"

    photographs = sorted(images.rglob("*.png"))[:20]

    def predicted(folder: Path) -> Sequence[object]:
        return "predict", folder / "runs" / "one", *photographs, "--output", folder / "answers.csv"

    cases = [
        Case("run", whole, after_whole),
        Case("run --round", second, after_second, base, "no corrections since round 2"),
        Case("apply", lambda folder: ("apply", folder / "runs" / "one"), decided, undecided),
        Case("export", exported, lambda folder: files_in(folder / "subset"), base),
        Case("predict PATH", predicted, lambda folder: {"answers": (folder / "answers.csv").read_text()}, base),
    ]
    return cases, undisturbed


def prepare(case: Case, folder: Path) -> Path:
    """The folder of a trial; the card inside its pipeline stays that of the base."""
    if case.base is not None:
        shutil.copytree(case.base, folder)
    return folder


def soak(work: Path, kills: int, seed: int, only: Sequence[str] = ()) -> tuple[Counter[str], list[str]]:
    """Kill `kills` times, every second time `run` and else the cases in turn; return the kills by case, and what
    differed."""
    cases, expected = make_cases(work)
    cases = [case for case in cases if not only or case.name in only]
    others = cases[1:] or cases
    draws, done, wrong = random.Random(seed), Counter[str](), []
    for case in [case for case in cases if case.name not in expected]:
        folder = prepare(case, work / f"undisturbed-{cases.index(case)}")
        seconds = give(case.words(folder))
        expected[case.name] = case.result(folder), seconds
        shutil.rmtree(folder)
    for number in range(kills):
        case = cases[0] if number % 2 == 0 else others[number // 2 % len(others)]
        folder, moment = prepare(case, work / f"trial-{number}"), draws.uniform(0, expected[case.name][1])
        try:
            give(case.words(folder), moment)
            give_again(case, folder)
            result = case.result(folder)
            differing = [name for name, value in expected[case.name][0].items() if result.get(name) != value]
        except Exception as error:
            differing = [f"{type(error).__name__}: {error}"]
        done[case.name] += 1
        if differing:
            wrong.append(f"{case.name}, killed after {moment:.2f} s: {'; '.join(differing)}")
        outcome = f"differs: {'; '.join(differing)}" if differing else "equal"
        print(f"{number + 1}/{kills} {case.name} at {moment:.1f} s: {outcome}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return done, wrong


def main() -> None:
    """Print the kills by case and what differed; exit code 1 if anything did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=(), help="names of cases")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        os.environ.update(RSAM_DATABASE_DIR=f"{work}/database", PYTHONUTF8="1")
        done, wrong = soak(Path(work), given.kills, given.seed, given.only)
    print(f"{sum(done.values()) - len(wrong)} of {sum(done.values())} equal: {dict(done)}", *wrong, sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
