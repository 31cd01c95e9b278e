"""The `rsam` command: parses, calls, prints."""

from rsam_app.cli import model, review, data, machine  # isort: skip  # in the order that `rsam --help` lists them
from rsam_app.cli.exit_codes import main
from rsam_app.cli.options import app

__all__ = ["app", "data", "machine", "main", "model", "review"]
