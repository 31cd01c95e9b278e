"""Kills the private database server with SIGKILL at uniformly random moments while decisions are written, beside busy
processes, so that some starts are slow; every acknowledged write must be there: `make soak-mongod KILLS=50`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pymongo

from rsam_app.system.mongodb.binary import private_mongod
from rsam_app.system.mongodb.server import join

PATIENCE = 120
"""Seconds within which the server answers again, on busy cores."""

ROUND = 10
"""Kills of one server; one that was killed 20 times is taken for one that cannot live."""


class Killed(NamedTuple):
    """The outcome of the kills."""

    recovered: int
    written: list[int]
    """All acknowledged decisions."""
    lost: list[int]
    slowest: float
    """Seconds of the slowest recovery."""


class Writer(threading.Thread):
    """Adds numbered decisions, one after the other; `acknowledged` are those that the server confirmed."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.decisions = pymongo.MongoClient[dict[str, Any]](address).soak.decisions
        self.last = max((decision["_id"] for decision in self.decisions.find()), default=0)
        self.acknowledged: list[int] = []
        self.ending = threading.Event()

    def run(self) -> None:
        """Write until `ending` is set; a write that failed is given up, as its outcome is unknown."""
        while not self.ending.is_set():
            self.last += 1
            try:
                self.decisions.insert_one({"_id": self.last})
            except pymongo.errors.ConnectionFailure:
                time.sleep(0.1)
            else:
                self.acknowledged.append(self.last)


def mongod_on(folder: Path) -> int | None:
    """The process id of the mongod on this database folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended
            continue
        if str(folder / "data") in arguments:
            return int(entry.name)
    return None


def wait_for_next(writer: Writer, folder: Path, killed: int, until: float) -> bool:
    """Whether another server than the killed one confirms a decision before the time `until`."""
    while mongod_on(folder) in (None, killed) and time.monotonic() < until:
        time.sleep(0.01)
    before = len(writer.acknowledged)
    while len(writer.acknowledged) == before and time.monotonic() < until:
        time.sleep(0.01)
    return len(writer.acknowledged) > before


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep this many processes computing."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def kill_again_and_again(folder: Path, kills: int, seed: int, earlier: Sequence[int] = ()) -> Killed:
    """Kill the server of this folder while decisions are written, up to two seconds after it answered last; decisions
    `earlier` were acknowledged in earlier rounds."""
    writer, draws, recovered, slowest = Writer(join(private_mongod(), folder)), random.Random(seed), 0, 0.0
    writer.start()
    for _ in range(kills):
        time.sleep(draws.uniform(0, 2))
        if (process := mongod_on(folder)) is None:
            break
        begun = time.monotonic()
        os.kill(process, signal.SIGKILL)
        if not wait_for_next(writer, folder, process, begun + PATIENCE):
            break
        seconds = time.monotonic() - begun
        recovered, slowest = recovered + 1, max(slowest, seconds)
        print(f"recovered in {seconds:.1f} s, {len(writer.acknowledged)} decisions", flush=True)
    writer.ending.set()
    writer.join(PATIENCE)
    kept = {decision["_id"] for decision in writer.decisions.find()}
    acknowledged = [*earlier, *writer.acknowledged]
    return Killed(recovered, acknowledged, sorted(set(acknowledged) - kept), slowest)


def rounds(folder: Path, kills: int, seed: int) -> Killed:
    """The kills in rounds, each on another server of the same folder."""
    found, context = Killed(0, [], [], 0), multiprocessing.get_context("spawn")
    for begun in range(0, kills, ROUND):
        with ProcessPoolExecutor(1, context) as process:
            number = min(ROUND, kills - begun)
            more = process.submit(kill_again_and_again, folder, number, seed + begun, found.written).result()
        slowest = max(found.slowest, more.slowest)
        found = Killed(found.recovered + more.recovered, more.written, more.lost, slowest)
    return found


def main() -> None:
    """Print how many kills were recovered and which decisions were lost; exit code 1 unless all and none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--busy", type=int, default=2 * (os.cpu_count() or 1), help="processes that compute beside")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, busy(given.busy):
        found = rounds(Path(work) / "database", given.kills, given.seed)
        print(
            f"{found.recovered} of {given.kills} kills recovered, the slowest in {found.slowest:.1f} s;"
            f" {len(found.lost)} of {len(found.written)} acknowledged decisions lost"
        )
    sys.exit(found.recovered < given.kills or bool(found.lost))


if __name__ == "__main__":
    main()
