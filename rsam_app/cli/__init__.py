"""The `rsam` command: parses arguments, calls the workflow, prints results."""

from rsam_app.cli import machine, data, config, train, model, review  # isort: skip  # in the order of `rsam --help`
from rsam_app.cli.application import app
from rsam_app.cli.exit_codes import main

__all__ = ["app", "config", "data", "machine", "main", "model", "review", "train"]
