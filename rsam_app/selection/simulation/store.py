"""Simulated curves on disk: one line per strategy and seed, appended as each is done, so that a stop loses one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rsam_app.errors import UserError
from rsam_app.run_folder import write_atomically


class Cells:
    """Finished cells of one setting in a JSON-lines file; cells of other settings in it are left alone."""

    def __init__(self, path: Path, setting: str) -> None:
        self.path, self.setting = path, setting

    def read(self) -> list[dict[str, Any]]:
        """The cells of this setting. A last line that a kill left half-written is cut off.

        Raises `UserError` where another line is damaged."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_atomically(self.path, whole)
        found = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                cell = json.loads(line)
                mine = cell["setting"] == self.setting
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{self.path}, line {number}: is damaged. Remove the line, or the file.") from error
            if mine:
                found.append(cell)
        return found

    def add(self, **cell: Any) -> None:
        """Append a finished cell."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"setting": self.setting, **cell}) + "\n")
