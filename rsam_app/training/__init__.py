"""Training on Accelerate: loop, losses, schedules, checkpoints, resume."""
