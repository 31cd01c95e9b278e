"""Gives many short commands, or trains again and again from Python, in one process, whose memory, open files, threads,
children and temporary files must stay flat: `make soak-repeated TIMES=200`."""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from command import rsam
from faults.small_run import make_run

WARM = 10
"""Commands until all libraries are imported and every pool of memory is filled: two of each."""


class Held(NamedTuple):
    """What a process holds."""

    mebibytes: float
    files: int
    threads: int
    children: int
    temporary: int
    """Files and folders in the temporary folder."""


def held() -> Held:
    """What this process holds now, without garbage and freed memory."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    children = [Path(f"/proc/self/task/{task}/children").read_text().split() for task in os.listdir("/proc/self/task")]
    memory, threads = int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"])
    files, temporary = len(os.listdir("/proc/self/fd")), len(list(Path(tempfile.gettempdir()).rglob("*")))
    return Held(memory, files, threads, sum(map(len, children)), temporary)


def commands(places: dict[str, Path]) -> Iterator[Callable[[], object]]:
    """Short commands in turn, for ever; each writes the same files again."""
    run, out = places["run"], places["out"]
    other = Path(shutil.copytree(run, run.with_name("two")))
    images = places["card"].parent / "images" / "test"
    yield from cycle(
        [
            lambda: rsam("predict", run, images, "--output", out / "answers.csv"),
            lambda: rsam("evaluate", run),
            lambda: rsam("select", run, "--no-tag"),
            lambda: rsam("config", "schema"),
            lambda: rsam("train", places["pipeline"], "--run", other, "--restart"),
        ]
    )


def trainings(places: dict[str, Path]) -> Iterator[Callable[[], object]]:
    """Training and prediction from Python, for ever, each in the same new folder."""
    import rsam_app

    folder = places["run"].with_name("fitted")
    model = {"backbone": "test_resnet", "weights": "none", "image_size": 64}
    train = {"epochs": 1, "batch_size": 12, "workers": 0, "trackers": [], "discover_objects": False}

    def fit() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        rsam_app.fit(places["card"], folder, model=model, train=train).predict([places["photograph"]])

    yield from cycle([fit])


def repeat(steps: Iterator[Callable[[], object]], times: int, show: bool = False) -> list[Held]:
    """What the process holds after each of the first `times` steps; printed after every tenth if `show`."""
    measured = []
    for number in range(1, times + 1):
        next(steps)()
        measured.append(held())
        if show and number % 10 == 0:
            print(number, measured[-1], flush=True)
    return measured


def growth(early: Held, late: Held, mebibytes: float) -> list[str]:
    """What grew, the memory by more than so many MiB."""
    most = early._replace(mebibytes=early.mebibytes + mebibytes)._asdict()
    return [
        f"{name} grew from {getattr(early, name)} to {value}"
        for name, value in late._asdict().items()
        if value > most[name]
    ]


@contextmanager
def own_folder() -> Iterator[dict[str, Path]]:
    """A small run in a folder that is not the temporary one, which is new and empty."""
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as temporary:
        before, tempfile.tempdir, os.environ["TMPDIR"] = tempfile.tempdir, temporary, temporary
        try:
            yield make_run(Path(work))
        finally:
            tempfile.tempdir = before


def main() -> None:
    """Print what the process holds now and then; exit code 1 if it grew after the first `WARM` steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--fit", action="store_true", help="train from Python instead")
    parser.add_argument("--growth", type=float, default=64, help="MiB that the memory may grow")
    given = parser.parse_args()
    with own_folder() as places:
        measured = repeat(trainings(places) if given.fit else commands(places), given.times, show=True)
    grown = growth(measured[min(WARM, given.times) - 1], measured[-1], given.growth)
    print(*grown or ["flat"], sep="\n")
    sys.exit(bool(grown))


if __name__ == "__main__":
    main()
