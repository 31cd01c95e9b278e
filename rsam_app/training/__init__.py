"""The Accelerate loop: losses, schedules, checkpoints, resume."""
