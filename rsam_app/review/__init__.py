"""The review room: FiftyOne's database, writing runs into it, the App, and reading a person's decisions back.

Importing this package is cheap; FiftyOne comes with the first name that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "import_fiftyone": "database",
    "write_run": "write",
    "WriteReport": "write",
    "save_views": "views",
    "tag_records": "tags",
    "tagged_ids": "tags",
    "read_decisions": "decisions",
    "Decisions": "decisions",
    "take_back": "taking_back",
    "link_plugin": "plugin_link",
    "app": "session",
    "open_app": "session",
    "open_review": "dataset",
    "load_model": "run_model",
    "import_dataset": "source",
    "Imported": "source",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
