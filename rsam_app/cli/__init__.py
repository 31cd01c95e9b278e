"""The `rsam` command: parses arguments, calls the workflow, prints results."""

from rsam_app.cli import model, review, data, machine  # isort: skip  # in the order of `rsam --help`
from rsam_app.cli.exit_codes import main
from rsam_app.cli.options import app

__all__ = ["app", "data", "machine", "main", "model", "review"]
