"""Several processes on one or more machines: start, agreement and common end. Cheap to import."""

from rsam_app.system.distributed.launcher import arguments_without_processes, is_launched, relaunch
from rsam_app.system.distributed.lifeline import end_launch, join_launch, leave_launch
from rsam_app.system.distributed.resume import resume_command

__all__ = [
    "arguments_without_processes",
    "end_launch",
    "is_launched",
    "join_launch",
    "leave_launch",
    "relaunch",
    "resume_command",
]
