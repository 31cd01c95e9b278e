"""The values that the shell offers on Tab, each with a help text if it has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def complete_pipeline(incomplete: str) -> list[str]:
    """Names of pipelines that begin with `incomplete`."""
    from rsam_app.config.load import known_names

    return [name for name in known_names("pipelines") if name.startswith(incomplete)]


def complete_card(incomplete: str) -> list[str]:
    """Names of cards that begin with `incomplete`."""
    from rsam_app.config.load import known_names

    return [name for name in known_names("datasets") if name.startswith(incomplete)]


def complete_run(incomplete: str) -> Iterator[str]:
    """Run folders in `runs/` that begin with `incomplete`."""
    runs = sorted(str(config.parent) for config in Path("runs").glob("*/config.yaml"))
    return (run for run in runs if run.startswith(incomplete))


def complete_strategy(incomplete: str) -> list[tuple[str, str]]:
    """Strategies that begin with `incomplete`, each with its summary."""
    from rsam_app.selection import STRATEGIES

    return [(name, strategy.summary) for name, strategy in STRATEGIES.items() if name.startswith(incomplete)]
