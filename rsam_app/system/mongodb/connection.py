"""Which database FiftyOne uses, and the one place where FiftyOne is imported.

In this order: what the user configured; the server that FiftyOne's own package brought; a private server of ours.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.binary import new_enough, private_mongod, probe
from rsam_app.system.mongodb.server import join

OURS = "RSAM_PRIVATE_DATABASE_URI"  # tells our own child processes that this address is not the user's choice


@dataclass(frozen=True)
class Database:
    """The database in use.

    `configured`: the user's, at `uri`. `fiftyone`: FiftyOne starts its own, `mongod`, on `folder`. `private`: ours runs
    at `uri` on `folder`, for as long as a command uses it.
    """

    kind: Literal["configured", "fiftyone", "private"]
    version: str
    uri: str | None = None
    mongod: Path | None = None
    folder: Path | None = None

    def __str__(self) -> str:
        place = {
            "configured": f"configured, {without_password(self.uri or '')}",
            "fiftyone": f"FiftyOne's own, in {self.folder}",
            "private": f"private, in {self.folder}",
        }
        return f"MongoDB {self.version}, {place[self.kind]}"


@functools.cache
def provide() -> Database:
    """A database that FiftyOne can use, running where it is ours to run; the same one each time in this process.

    Raises `UserError` where the configured one does not answer, or no server can be had or started.
    """
    configured, origin = configured_uri()
    if configured:
        return Database("configured", ping(configured, origin), uri=configured)
    own = _fiftyone_folder() / "db" / "bin" / "mongod"
    if (mongod := probe(own)) and new_enough(mongod.version):
        return Database("fiftyone", mongod.version, mongod=own, folder=_fiftyone_database_folder())
    mongod = private_mongod()
    folder = private_folder()
    uri = f"mongodb://127.0.0.1:{join(mongod, folder).port}"
    return Database("private", mongod.version, uri=uri, mongod=mongod.path, folder=folder)


def import_fiftyone() -> ModuleType:
    """FiftyOne, connected to the database of `provide`, sending nothing home. On the main process only.

    Raises `UserError` where the database cannot be used, with FiftyOne's reason.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        raise RuntimeError("FiftyOne belongs on the main process of a distributed run: several fail to bind its port")
    if "fiftyone" in sys.modules:
        return sys.modules["fiftyone"]
    database = provide()
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    if database.kind == "private" and database.uri:
        os.environ["FIFTYONE_DATABASE_URI"] = os.environ[OURS] = database.uri
        # FiftyOne warns that 6.0 is the oldest version it supports, on every start; the version was checked already.
        os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")
    elif database.kind == "fiftyone":
        os.environ.setdefault("FIFTYONE_DATABASE_DIR", str(database.folder))
    module = importlib.import_module("fiftyone")
    _connect(database)
    return module


def configured_uri() -> tuple[str | None, str]:
    """The address that the user gave FiftyOne, and where; None where there is none.

    Raises `UserError` where FiftyOne's configuration file is not readable as JSON.
    """
    address = os.environ.get("FIFTYONE_DATABASE_URI")
    if address and address != os.environ.get(OURS):
        return address, "FIFTYONE_DATABASE_URI"
    path = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or Path.home() / ".fiftyone" / "config.json")
    found = _configuration(path).get("database_uri")
    return (str(found) if found else None), f"{path}, database_uri"


def private_folder() -> Path:
    """Where the private database lies: `RSAM_DATABASE_DIR`, else `$XDG_DATA_HOME/rsam/mongo`."""
    if chosen := os.environ.get("RSAM_DATABASE_DIR"):
        return Path(chosen).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data).absolute() / "rsam" / "mongo"


def without_password(uri: str) -> str:
    """The address as it may be printed: user and password struck out."""
    return re.sub(r"//[^/]*@", "//…@", uri)


def _configuration(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: FiftyOne's configuration cannot be read ({error}).\nMend or remove it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: FiftyOne's configuration must be a JSON object.\nMend or remove it.")
    return content


def _fiftyone_folder() -> Path:
    """Where FiftyOne is installed, found without importing it. Raises `UserError` where it is not."""
    found = importlib.util.find_spec("fiftyone")
    if found is None or not found.origin:
        raise UserError("FiftyOne is not installed for this Python. Run `make setup`, or `pip install fiftyone`.")
    return Path(found.origin).parent


def _fiftyone_database_folder() -> Path:
    """The folder that FiftyOne's own server uses: `RSAM_DATABASE_DIR` where it is set, else FiftyOne's choice."""
    path = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or Path.home() / ".fiftyone" / "config.json")
    chosen = os.environ.get("FIFTYONE_DATABASE_DIR") or os.environ.get("RSAM_DATABASE_DIR")
    chosen = chosen or _configuration(path).get("database_dir")
    return Path(chosen or Path.home() / ".fiftyone" / "var" / "lib" / "mongo").expanduser().absolute()


def ping(uri: str, origin: str) -> str:
    """The version of the server that answers at `uri`. Raises `UserError`, naming `origin`, where none does."""
    import pymongo
    from pymongo.errors import PyMongoError

    patience = None if "serverselectiontimeoutms" in uri.lower() else 5000
    try:
        with pymongo.MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=patience) as client:
            version = str(client.server_info()["version"])
    except PyMongoError as error:
        reason = without_password(str(error)).split(", Timeout:")[0]
        raise UserError(
            f"{origin}={without_password(uri)}: no MongoDB can be used there ({reason}).\n"
            f"Start it, or correct or remove {origin}: without it a private database is used."
        ) from error
    return version


def _connect(database: Database) -> None:
    """Have FiftyOne connect now, so that what is wrong is said here and not somewhere in the middle."""
    service = importlib.import_module("fiftyone.core.service")
    configuration = importlib.import_module("fiftyone.core.config")
    odm = importlib.import_module("fiftyone.core.odm")
    reasons = (OSError, RuntimeError, service.ServiceException, configuration.FiftyOneConfigError)
    try:
        odm.get_db_conn()
    except reasons as error:
        raise UserError(
            f"FiftyOne cannot use its database ({database}): {error}\n"
            "Set FIFTYONE_DATABASE_URI to a running MongoDB of version 6 or newer."
        ) from error
