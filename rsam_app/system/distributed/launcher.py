"""`--processes N`: the same command again, under Accelerate's launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys

from rsam_app.system.distributed.rank import OUR_LAUNCHER
from rsam_app.system.hardware import available_cores

TIME_TO_STOP = "300"
"""Seconds that processes have for a last step and a checkpoint after Ctrl-C before they are killed."""


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
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", TIME_TO_STOP)
    os.environ[OUR_LAUNCHER] = "1"
    for name in ("", ".agent.server.api", ".multiprocessing.api"):  # whoever failed or was stopped said so
        logging.getLogger(f"torch.distributed.elastic{name}").setLevel(logging.CRITICAL)
    options = ["--multi_gpu", "--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    parsed = launch_command_parser().parse_args([*options, "-m", "rsam_app", *arguments])
    try:
        launch_command(parsed)
    except ChildFailedError as error:
        return _reason({rank: failure.exitcode for rank, failure in error.failures.items()})
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


def _reason(codes: dict[int, int]) -> int:
    """The exit code of a launch in which these processes failed; says who was killed, which they could not."""
    killed = {rank: -code for rank, code in sorted(codes.items()) if code < 0}
    if not killed:
        return next(iter(codes.values()), 1)
    first = next((r for r, number in killed.items() if number != signal.SIGTERM), next(iter(killed)))
    print(
        f"rsam: process {first} was killed by {signal.Signals(killed[first]).name}"
        + (", perhaps for lack of memory" if killed[first] == signal.SIGKILL else "")
        + "; all others were ended.\n"
        "What had a checkpoint goes on with `rsam train PIPELINE --resume` or `rsam run PIPELINE`.",
        file=sys.stderr,
    )
    return 1
