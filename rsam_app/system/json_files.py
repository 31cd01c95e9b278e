"""JSON that others may have written, cut or nested: one error for all that is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from rsam_app.system.errors import UserError

Value = TypeVar("Value")
KINDS: dict[type, str] = {dict: "an object", list: "a list"}
"""JSON's names of our types."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises `ValueError` if it is not JSON, or nested deeper than Python's parser goes (some 1,000 brackets).
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many nested brackets") from error


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises `OSError` if it cannot be read, and `ValueError` as `parse_json`."""
    return parse_json(path.read_text(encoding="utf-8"))


def read_own(path: Path, kind: type[Value], remedy: str) -> Value:
    """The value of a JSON file that RSAM wrote. Raises `UserError`, which ends with `remedy`, if it is damaged or of
    another kind."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        what = "cannot be read" if isinstance(error, OSError) else "is damaged"
        raise UserError(f"{path}: {what} ({error}). {remedy}") from error
    if not isinstance(content, kind):
        raise UserError(f"{path}: is damaged (not {KINDS[kind]}). {remedy}")
    return content
