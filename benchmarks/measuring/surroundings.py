"""Environment of a measurement."""

from __future__ import annotations

from typing import Any

from rsam_app.run.folder import environment


def where() -> dict[str, Any]:
    """Return the commit, the versions and the hardware of a measurement."""
    found = environment()
    return {key: found[key] for key in ("commit", "hardware", "versions") if key in found}
