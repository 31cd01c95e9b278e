"""What figures were measured with."""

from __future__ import annotations

from typing import Any

from rsam_app.run.folder import environment


def where() -> dict[str, Any]:
    """The commit, the versions and the hardware that figures were measured with."""
    found = environment()
    return {key: found[key] for key in ("commit", "hardware", "versions") if key in found}
