"""`--processes N`: the same command again, under Accelerate's launcher."""

from __future__ import annotations

import logging
import os
import sys

from rsam_app.hardware import available_cores


def is_launched() -> bool:
    """Whether this process is already one of a launch."""
    return "RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def relaunch(processes: int, arguments: list[str]) -> int:
    """Run `rsam ARGUMENTS` on `processes` processes of this machine; returns the first failing one's exit code, or 0.

    Without an accelerator the processes share the CPU, each with its part of the cores.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // processes)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the process that failed said why
    options = ["--multi_gpu", "--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    parsed = launch_command_parser().parse_args([*options, "-m", "rsam_app", *arguments])
    try:
        launch_command(parsed)
    except ChildFailedError as error:
        codes = [failure.exitcode for _, failure in sorted(error.failures.items())]
        return next((code for code in codes if code > 0), 1)
    except SignalException:
        return 130
    return 0


def arguments_without_processes() -> list[str]:
    """The arguments of this command, `--processes N` taken out."""
    kept, skip = [], False
    for argument in sys.argv[1:]:
        if skip:
            skip = False
        elif argument == "--processes":
            skip = True
        elif not argument.startswith("--processes="):
            kept.append(argument)
    return kept
