"""A process that read images ends, whatever became of its loading processes."""

from __future__ import annotations

import subprocess
import sys

ENDS = """
import multiprocessing, signal, time
import rsam_app.data.loader

def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
    time.sleep(600)

child = multiprocessing.get_context("fork").Process(target=deaf, daemon=True)
child.start()
time.sleep(1)
"""


def test_a_loading_process_that_hears_nothing_does_not_keep_it() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout == "deaf\n"
