"""The choice of FiftyOne's database, and the only import of FiftyOne.

In this order: a configured database; the server in FiftyOne's own package; a private server.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from rsam_app.system.errors import UserError
from rsam_app.system.extras import missing_extra
from rsam_app.system.json_files import read_json
from rsam_app.system.mongodb.binary import new_enough, private_mongod, probe
from rsam_app.system.mongodb.server import join

PRIVATE_URI = "RSAM_PRIVATE_DATABASE_URI"
"""Environment variable by which child processes know that the address in FIFTYONE_DATABASE_URI is ours."""


@dataclass(frozen=True)
class Database:
    """The database in use.

    `configured`: the user's, at `uri`. `fiftyone`: FiftyOne runs its own `mongod` on `folder`. `private`: a server of
    ours at `uri` on `folder`, running as long as a command uses it.
    """

    kind: Literal["configured", "fiftyone", "private"]
    version: str
    uri: str | None = None
    mongod: Path | None = None
    folder: Path | None = None

    def __str__(self) -> str:
        descriptions = {
            "configured": f"configured, {without_password(self.uri or '')}",
            "fiftyone": f"FiftyOne's own, in {self.folder}",
            "private": f"private, in {self.folder}",
        }
        return f"MongoDB {self.version}, {descriptions[self.kind]}"


@functools.cache
def provide() -> Database:
    """Return the database for FiftyOne, the same one for this whole process; a private one is started.

    Raises `UserError` if the configured one does not answer, or no server is available or starts.
    """
    configured, origin = configured_uri()
    if configured:
        return Database("configured", ping(configured, origin), uri=configured)
    own = _fiftyone_folder() / "db" / "bin" / "mongod"
    if (mongod := probe(own)) and new_enough(mongod.version):
        return Database("fiftyone", mongod.version, mongod=own, folder=_fiftyone_database_folder())
    mongod = private_mongod()
    folder = private_folder()
    return Database("private", mongod.version, uri=join(mongod, folder), mongod=mongod.path, folder=folder)


def import_fiftyone() -> ModuleType:
    """Import FiftyOne, connect it to the database of `provide`, and turn its tracking off. On the main process only.

    Raises `UserError` with FiftyOne's reason if it cannot use the database.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        raise RuntimeError("FiftyOne runs only on the main process of a launch: several cannot share its port")
    if "fiftyone" in sys.modules:
        return sys.modules["fiftyone"]
    database = provide()
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    if database.kind == "private" and database.uri:
        os.environ["FIFTYONE_DATABASE_URI"] = os.environ[PRIVATE_URI] = database.uri
        # Without this FiftyOne warns on every start that 6.0 is the oldest version it supports.
        os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")
    elif database.kind == "fiftyone":
        os.environ.setdefault("FIFTYONE_DATABASE_DIR", str(database.folder))
    module = importlib.import_module("fiftyone")
    _connect(database)
    return module


@contextmanager
def opened() -> Iterator[Any]:
    """FiftyOne's database, which is asked without importing FiftyOne unless that runs the server itself.

    Raises `UserError` as `provide` and `import_fiftyone` do.
    """
    database = provide()
    if database.uri is None or "fiftyone" in sys.modules:
        import_fiftyone()
        yield importlib.import_module("fiftyone.core.odm").get_db_conn()
        return
    import pymongo

    name = os.environ.get("FIFTYONE_DATABASE_NAME") or _configuration().get("database_name") or "fiftyone"
    with pymongo.MongoClient[dict[str, Any]](database.uri) as client:
        yield client[str(name)]


def configured_uri() -> tuple[str | None, str]:
    """Return the address that the user configured for FiftyOne, None if there is none, and the setting's name.

    Raises `UserError` if FiftyOne's configuration file is not a JSON object.
    """
    address = os.environ.get("FIFTYONE_DATABASE_URI")
    if address and address != os.environ.get(PRIVATE_URI):
        return address, "FIFTYONE_DATABASE_URI"
    uri = _configuration().get("database_uri")
    return (str(uri) if uri else None), f"{_configuration_file()}, database_uri"


def private_folder() -> Path:
    """Return the private database's folder: `RSAM_DATABASE_DIR`, else `$XDG_DATA_HOME/rsam/mongo`."""
    if chosen := os.environ.get("RSAM_DATABASE_DIR"):
        return Path(chosen).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data).absolute() / "rsam" / "mongo"


def without_password(uri: str) -> str:
    """Return the address without user and password, safe to print."""
    return re.sub(r"//[^/]*@", "//…@", uri)


def _configuration_file() -> Path:
    return Path(os.environ.get("FIFTYONE_CONFIG_PATH") or Path.home() / ".fiftyone" / "config.json")


def _configuration() -> dict[str, Any]:
    path = _configuration_file()
    if not path.exists():
        return {}
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: FiftyOne's configuration cannot be read ({error}).\nFix or remove it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: FiftyOne's configuration must be a JSON object.\nFix or remove it.")
    return content


def _fiftyone_folder() -> Path:
    """Return the folder in which FiftyOne is installed, without importing it. Raises `UserError` if there is none."""
    spec = importlib.util.find_spec("fiftyone")
    if spec is None or not spec.origin:
        raise missing_extra("review", "FiftyOne's part of the loop")
    return Path(spec.origin).parent


def _fiftyone_database_folder() -> Path:
    """Return the folder of FiftyOne's own server; `RSAM_DATABASE_DIR` replaces FiftyOne's default."""
    chosen = os.environ.get("FIFTYONE_DATABASE_DIR") or os.environ.get("RSAM_DATABASE_DIR")
    chosen = chosen or _configuration().get("database_dir")
    return Path(chosen or Path.home() / ".fiftyone" / "var" / "lib" / "mongo").expanduser().absolute()


def ping(uri: str, origin: str) -> str:
    """Return the version of the server at `uri`. Raises `UserError`, naming `origin`, if none answers."""
    import pymongo
    from pymongo.errors import PyMongoError

    patience: dict[str, Any] = {} if "serverselectiontimeoutms" in uri.lower() else {"serverSelectionTimeoutMS": 5000}
    try:
        with pymongo.MongoClient[dict[str, Any]](uri, **patience) as client:
            version = str(client.server_info()["version"])
    except PyMongoError as error:
        reason = without_password(str(error)).split(", Timeout:")[0]
        raise UserError(
            f"{origin}={without_password(uri)}: no usable MongoDB answers there ({reason}).\n"
            f"Start it, or correct or remove {origin} (without it, a private database is used)."
        ) from error
    return version


def _connect(database: Database) -> None:
    """Connect FiftyOne now, so that a problem is reported here and not in the middle of the work."""
    from fiftyone.core.config import FiftyOneConfigError
    from fiftyone.core.odm import get_db_conn
    from fiftyone.core.service import ServiceException

    try:
        get_db_conn()
    except (OSError, RuntimeError, ServiceException, FiftyOneConfigError) as error:
        raise UserError(
            f"FiftyOne cannot use its database ({database}): {error}\n"
            "Set FIFTYONE_DATABASE_URI to a running MongoDB of version 6 or newer."
        ) from error
