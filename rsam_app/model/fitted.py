"""Values that were fitted to a saved model's predictions, in its `config.json`: read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.system.json_files import read_own

FITTED = ("temperature", "roll_up", "second_look_below")
"""Keys of `pretrained_cfg` that are ours: what was fitted to the model's predictions of validation images."""

REMEDY = "Copy the folder again, or retrain with `rsam train PIPELINE --restart`."
"""The way out of a damaged model."""


def read_fitted(folder: Path, key: str) -> Any:
    """The value of a key in `FITTED` of a saved model, without loading it; None if it was not fitted."""
    return _config(folder)["pretrained_cfg"].get(key)


def save_fitted(folder: Path, **values: Any) -> None:
    """Write values by their key in `FITTED` into the `config.json` of a saved model; None removes one.

    `load_model` and `timm.create_model` return them in the model's `pretrained_cfg`. The weights stay untouched.
    """
    config = _config(folder)
    cfg = {key: value for key, value in config["pretrained_cfg"].items() if key not in values}
    config["pretrained_cfg"] = cfg | {key: value for key, value in values.items() if value is not None}
    write_atomically(folder / "config.json", json.dumps(config, indent=2) + "\n")


def _config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a saved model. Raises `UserError` if it is damaged."""
    config: dict[str, Any] = read_own(folder / "config.json", dict, REMEDY)
    if not isinstance(config.get("pretrained_cfg"), dict):
        raise UserError(f"{folder / 'config.json'}: is damaged (incomplete). {REMEDY}")
    return config
