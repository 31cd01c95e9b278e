"""The machine below: errors, progress, hardware, files."""
