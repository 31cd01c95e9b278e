"""Installs the plugin `@rsam/review`: a link in FiftyOne's plugins folder to the package data."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path

from rsam_app.system.errors import UserError
from rsam_app.system.files import replace_atomically
from rsam_app.system.mongodb.connection import import_fiftyone

PLUGIN = Path(__file__).parent.parent / "plugin"
FOLDER = Path("@rsam") / "review"
"""The plugin's usual folder below FiftyOne's plugins folder."""


def link_plugin() -> Path:
    """Link the plugin into FiftyOne's plugins folder and return the link.

    An up-to-date link stays, as does a copy of this plugin that FiftyOne downloaded; a link to another or a moved
    installation is replaced. Raises `UserError` if something else or another version has the name, or the folder is not
    writable.
    """
    fo = import_fiftyone()
    link = Path(fo.config.plugins_dir).expanduser().absolute() / FOLDER
    if link.is_symlink() and _is_rsam_plugin(link):
        if _target(link) == PLUGIN:
            return link
    elif link.is_dir() and not link.is_symlink() and _is_copy(link):
        return link
    elif link.is_symlink() or link.exists():
        raise UserError(
            f"{link}: is not the plugin that comes with this RSAM and was left unchanged.\n"
            "Move it away, update it with `fiftyone plugins download --overwrite`, or set FIFTYONE_PLUGINS_DIR to"
            " another folder."
        )
    try:
        with replace_atomically(link, shared=True) as partial:  # a hidden name, which FiftyOne ignores
            partial.symlink_to(PLUGIN, target_is_directory=True)
    except OSError as error:
        raise UserError(
            f"{link}: FiftyOne's plugins folder cannot be written ({error.strerror}).\n"
            "Make it writable, or set FIFTYONE_PLUGINS_DIR to a folder that is."
        ) from error
    return link


def _is_copy(folder: Path) -> bool:
    """Whether a folder has all of the plugin's files, as they are."""
    files = [file.name for file in PLUGIN.iterdir() if file.is_file()]
    return not any(filecmp.cmpfiles(PLUGIN, folder, files, shallow=False)[1:])


def _target(link: Path) -> Path:
    return Path(os.path.normpath(link.parent / link.readlink()))


def _is_rsam_plugin(link: Path) -> bool:
    """Whether the link leads into an installation of this package, by the target's name: the target may be gone."""
    return _target(link).parts[-3:] == PLUGIN.parts[-3:]
