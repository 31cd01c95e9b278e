"""The plugin `@rsam/review` in FiftyOne's plugins folder: a link to our package data, made by `rsam review`."""

from __future__ import annotations

import os
from pathlib import Path

from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.connection import import_fiftyone

PLUGIN = Path(__file__).parent.parent / "plugin"
FOLDER = Path("@rsam") / "review"
"""Where FiftyOne itself would put a plugin of this name, below its plugins folder."""


def link_plugin() -> Path:
    """Link the plugin into FiftyOne's plugins folder, beside the person's own; returns the link.

    What is linked already stays; a link of ours to a place that moved, or to another installation, is turned to this
    one. Raises `UserError` where something else has the name, and where the folder cannot be written.
    """
    fo = import_fiftyone()
    link = Path(fo.config.plugins_dir).expanduser().absolute() / FOLDER
    if link.is_symlink() and _is_ours(link):
        if _target(link) == PLUGIN:
            return link
    elif link.is_symlink() or link.exists():
        raise UserError(
            f"{link}: is not the plugin that comes with RSAM, and is left alone.\n"
            "Move it away, or give FiftyOne another folder with FIFTYONE_PLUGINS_DIR."
        )
    partial = link.with_name(f".review-{os.getpid()}")  # FiftyOne does not look into hidden folders
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        partial.symlink_to(PLUGIN, target_is_directory=True)
        os.replace(partial, link)
    except OSError as error:
        raise UserError(
            f"{link}: FiftyOne's plugins folder cannot be written ({error.strerror}).\n"
            "Make it writable, or set FIFTYONE_PLUGINS_DIR to a folder that is."
        ) from error
    return link


def _target(link: Path) -> Path:
    return Path(os.path.normpath(link.parent / link.readlink()))


def _is_ours(link: Path) -> bool:
    """Whether it leads, or led, into an installation of this package: the target may be gone, its name is not."""
    return _target(link).parts[-len(_PLACE) :] == _PLACE


_PLACE = PLUGIN.parts[-3:]
