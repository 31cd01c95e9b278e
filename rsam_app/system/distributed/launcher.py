"""`--processes N`: the same command under Accelerate's launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys

from rsam_app.system.distributed.rank import LAUNCHER_REPORTS
from rsam_app.system.distributed.resume import resume_hint
from rsam_app.system.hardware import available_cores

SHUTDOWN_TIMEOUT = "300"
"""Seconds that processes have after Ctrl-C for a last step and a checkpoint before they are killed."""


def is_launched() -> bool:
    """Whether a launcher started this process."""
    return "RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def relaunch(processes: int, arguments: list[str]) -> int:
    """Run `rsam ARGUMENTS` in `processes` processes on this machine; return the first failure's exit code, or 0.

    Without an accelerator the processes share the CPU cores equally.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // processes)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SHUTDOWN_TIMEOUT)
    os.environ[LAUNCHER_REPORTS] = "1"
    for name in ("", ".agent.server.api", ".multiprocessing.api"):  # the processes report their own reasons
        logging.getLogger(f"torch.distributed.elastic{name}").setLevel(logging.CRITICAL)
    options = ["--multi_gpu", "--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    parsed = launch_command_parser().parse_args([*options, "-m", "rsam_app", *arguments])
    try:
        launch_command(parsed)
    except ChildFailedError as error:
        return _exit_code({rank: failure.exitcode for rank, failure in error.failures.items()})
    except SignalException:
        return 130
    return 0


def arguments_without_processes() -> list[str]:
    """Return the arguments of this command without `--processes N`."""
    arguments: list[str] = []
    skip = False
    for argument in sys.argv[1:]:
        if not (skip or argument == "--processes" or argument.startswith("--processes=")):
            arguments.append(argument)
        skip = argument == "--processes" and not skip
    return arguments


def _exit_code(codes: dict[int, int]) -> int:
    """Return the exit code of a launch from those of its failed processes, and report which one was killed."""
    killed = {rank: -code for rank, code in sorted(codes.items()) if code < 0}
    if not killed:
        return next(iter(codes.values()), 1)
    first = next((rank for rank, number in killed.items() if number != signal.SIGTERM), next(iter(killed)))
    cause = ", perhaps for lack of memory" if killed[first] == signal.SIGKILL else ""
    print(
        f"rsam: process {first} was killed by {signal.Signals(killed[first]).name}{cause}; all others were ended.\n"
        + resume_hint(),
        file=sys.stderr,
    )
    return 1
