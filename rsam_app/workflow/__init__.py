"""The work behind each command of `rsam`."""
