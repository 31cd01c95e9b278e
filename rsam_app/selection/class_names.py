"""The names of a run's classes, in the order of its model's logits."""

from __future__ import annotations

import json

from rsam_app.run_folder import RunFolder


def class_names(run: RunFolder) -> tuple[str, ...]:
    """As the model's own configuration has them; none where the run has no model, or one without names."""
    config = run.model / "config.json"
    if not config.is_file():
        return ()
    return tuple(json.loads(config.read_text(encoding="utf-8")).get("label_names") or ())
