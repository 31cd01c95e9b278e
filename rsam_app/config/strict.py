"""The base of every schema: a key that nobody knows is an error, not a key that does nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A schema that refuses unknown keys and checks its defaults too."""

    model_config = ConfigDict(extra="forbid", validate_default=True, protected_namespaces=())
