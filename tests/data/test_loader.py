"""The end of a process that has loading processes, or other children."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEAF = """
import sys, time
from pathlib import Path
from rsam_app.data.loader import make_loader

class Deaf:
    def __getitems__(self, draws):
        Path(sys.argv[1]).touch()
        time.sleep(600)

loader = make_loader(Deaf(), [[0]], 1, False)
batches = iter(loader)
while not Path(sys.argv[1]).exists():
    time.sleep(0.05)
print("loading")
"""

OTHER = """
import multiprocessing, os, signal, time
import rsam_app.data.loader

def end_in_order(*_):
    print("ended in order", flush=True)
    os._exit(0)

def work(started):
    signal.signal(signal.SIGTERM, end_in_order)
    started.set()
    time.sleep(600)

context = multiprocessing.get_context("fork")
started = context.Event()
context.Process(target=work, args=(started,), daemon=True).start()
started.wait()
"""


def test_a_loading_process_that_hears_nothing_does_not_keep_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DEAF, str(tmp_path / "begun")]
    assert subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout == "loading\n"


def test_children_of_the_calling_program_are_not_killed() -> None:
    ended = subprocess.run([sys.executable, "-c", OTHER], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout == "ended in order\n"
