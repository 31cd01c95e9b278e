"""MATLAB files of the official releases."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from rsam_app.system.errors import UserError

READ_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, struct.error, zlib.error, MemoryError)
"""What scipy raises for damaged files, besides its own errors."""


def read_variables(path: Path, *names: str) -> list[np.ndarray]:
    """Read variables of a `.mat` file (level 5, as in the releases), each as an array of one axis.

    Structures keep their fields, cells of text become text. Raises `UserError` if the file is damaged or lacks one.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, squeeze_me=True)
    except (*READ_ERRORS, MatReadError) as error:
        raise UserError(f"{path}: is not a MATLAB file ({error}). Restore the file.") from error
    except NotImplementedError as error:
        raise UserError(
            f"{path}: is a MATLAB 7.3 file, but the release's files are older. Restore the file."
        ) from error
    missing = [name for name in names if name not in content]
    if missing:
        have = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
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
