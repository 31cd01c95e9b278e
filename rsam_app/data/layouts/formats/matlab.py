"""MATLAB files of the official releases."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsam_app.data.layouts.formats.matlab_level5 import DamagedError, read_level5
from rsam_app.system.errors import UserError, reason_of

NEWER = b"MATLAB 7.3"
"""The first bytes of a file that is HDF5 inside."""


def read_variables(path: Path, *names: str) -> list[np.ndarray]:
    """Read variables of a `.mat` file (level 5, as in the releases), each as an array of one axis.

    Structures become dictionaries, cells of text become text. Raises `UserError` if the file is damaged or lacks one.
    """
    try:
        content, present = read_level5(path.read_bytes(), names)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)}). Restore the file.") from error
    except DamagedError as error:
        with path.open("rb") as stream:
            newer = stream.read(len(NEWER)) == NEWER
        problem = "is a MATLAB 7.3 file, but the release's files are older"
        raise UserError(
            f"{path}: {problem if newer else f'is not a whole MATLAB file of level 5 ({error})'}. Restore the file."
        ) from error
    missing = [name for name in names if name not in content]
    if missing:
        have = ", ".join(name for name in present if name) or "nothing"
        raise UserError(f"{path}: lacks {', '.join(missing)} (it has {have}). Restore the file.")
    return [np.atleast_1d(content[name]).reshape(-1) for name in names]


def whole_numbers(values: np.ndarray, path: Path, name: str) -> list[int]:
    """Return a numeric variable as whole numbers. Raises `UserError` if it holds anything else."""
    try:
        numbers = values.astype(np.float64)
        if not (np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()):
            raise ValueError("fractions")
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {name} is not a list of whole numbers ({error}). Restore the file.") from error
    return [int(n) for n in numbers]


def texts(values: np.ndarray, path: Path, name: str) -> list[str]:
    """Return a variable of cells as texts. Raises `UserError` if it holds anything else."""
    for number, value in enumerate(values, start=1):
        if not (isinstance(value, str) and value):
            raise UserError(f"{path}: {name} {number} is not a text. Restore the file.")
    return [str(value) for value in values]
