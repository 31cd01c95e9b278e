"""`metrics.jsonl`: a JSON line for each epoch of a run, read also where a crash cut it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rsam_app.system.files import write_atomically
from rsam_app.system.json_files import parse_json


def read_log(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the lines of a `metrics.jsonl`, and the number of lines that are not JSON objects, e.g. cut by a crash."""
    if not path.exists():
        return [], 0
    lines, broken = [], 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = parse_json(text)
        except ValueError:
            line = None
        if isinstance(line, dict):
            lines.append(line)
        else:
            broken += bool(text.strip())
    return lines, broken


def cut_log(path: Path, epochs: int) -> int:
    """Leave the lines of the first `epochs` epochs, for a training that continues there; return the number of lines
    that cannot be read, which are removed too."""
    if not path.exists():
        return 0
    lines, broken = read_log(path)
    numbered = [line for line in lines if isinstance(line.get("epoch"), int)]
    kept = [json.dumps(line) + "\n" for line in numbered if line["epoch"] <= epochs]
    write_atomically(path, "".join(kept))
    return broken + len(lines) - len(numbered)
