"""FiftyOne's private names; the only module of `review` that uses them.

Each docstring says which public API is missing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bson import ObjectId
    from numpy.typing import ArrayLike
    from pymongo.collection import Collection
    from pymongo.database import Database

TOKEN_VARIABLE = "RSAM_APP_TOKEN"
"""Environment variable with which the server gets its token: other users see a process's arguments."""


def sample_collection(dataset_or_view: Any) -> Collection[dict[str, Any]]:
    """The MongoDB collection of the samples. Public methods neither update conditionally nor run pipelines."""
    collection: Collection[dict[str, Any]] = dataset_or_view._dataset._sample_collection
    return collection


def dataset_id(dataset: Any) -> ObjectId:
    """The dataset's id, which its samples and execution stores carry. Datasets have no public `id`."""
    identifier: ObjectId = dataset._doc.id
    return identifier


def dataset_document(name: str, field: str) -> dict[str, Any]:
    """A dataset's document with one field as the database has it now. `reload()` would change the dataset here, too."""
    from fiftyone.core.odm import get_db_conn

    return get_db_conn().datasets.find_one({"name": name}, {field: 1}) or {}


def add_to_lists(dataset: Any, lists: Mapping[str, Sequence[str]]) -> None:
    """Append values that are not there yet to lists in a dataset's document, by their place in it (`info.a.b`), at once
    for all processes. Saving the dataset would write what this process knows of it."""
    from fiftyone.core.odm import get_db_conn

    changes = {place: {"$each": list(values)} for place, values in lists.items()}
    changed: dict[str, Any] = {"$addToSet": changes, "$currentDate": {"last_modified_at": True}}
    get_db_conn().datasets.update_one({"_id": dataset_id(dataset)}, changed)
    dataset.reload()


def dataset_of(ctx: Any) -> Any:
    """`ctx.dataset` of an operator, as the database has it: the one that this process has if nothing saved it since.

    FiftyOne reads and builds the dataset again for every call of an operator, which is half of the time that a key
    takes, and has no public setting for that. Each save of a dataset stamps it with the time.
    """
    from bson import ObjectId
    from fiftyone.core.odm import get_db_conn

    if ctx._dataset is not None:  # it is known already
        return ctx.dataset
    query = {"_id": ObjectId(ctx.dataset_id)} if ctx.dataset_id else {"name": ctx.dataset_name}
    stored = get_db_conn().datasets.find_one(query, {"name": 1, "last_modified_at": 1}) or {}
    stamp = stored.get("_id"), stored.get("name"), stored.get("last_modified_at")
    known, known_stamp = _open_dataset.get("dataset", (None, None))
    if known is not None and known_stamp == stamp and not known.deleted and ctx.group_slice is None:
        ctx._dataset = known
    elif (dataset := ctx.dataset) is not None:
        _open_dataset["dataset"] = dataset, stamp
    return ctx.dataset


_open_dataset: dict[str, tuple[Any, Any]] = {}
"""The dataset that the App showed last, and its stamp."""


def declare_fields(dataset: Any, fields: Mapping[str, Mapping[str, Any]]) -> None:
    """Declare the fields that do not exist, those inside another one after it; `fields` maps names to arguments of
    `add_sample_field`, which loads and stores the dataset's whole document for each. Raises `ValueError` if one exists
    with another type."""
    from fiftyone.core.odm import create_field

    def depth(name: str) -> int:
        return name.count(".")

    for _, names in groupby(sorted(fields, key=depth), depth):
        dataset._merge_sample_field_schema({n: create_field(n.rpartition(".")[2], **fields[n]) for n in names})


def view_stages(view: Any) -> list[Any]:
    """The stages of a view; of a dataset, none. Views do not list their stages publicly."""
    return list(getattr(view, "_stages", []))


def stored_samples(view: Any, *stages: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The samples of a view as stored, after further stages of MongoDB's. Publicly a view is only read by FiftyOne's
    own aggregations, which go through all of it."""
    pipeline: list[Mapping[str, Any]] = [*view._pipeline(), *stages]
    return list(sample_collection(view).aggregate(pipeline, allowDiskUse=True))


def serialized_stages(view: Any) -> list[dict[str, Any]]:
    """The stages of a view as JSON, the same for equal views. The public `to_dict` of stages adds random ids."""
    stages: list[dict[str, Any]] = view._serialize(include_uuids=False)
    return stages


def slug(name: str) -> str:
    """The name by which FiftyOne compares saved views. `has_saved_view` compares the exact name only."""
    from fiftyone.core.utils import to_slug

    return str(to_slug(name))


def serialized_array(array: ArrayLike) -> bytes:
    """An array as FiftyOne stores it. Publicly only fields of documents are serialised."""
    from fiftyone.core.utils import serialize_numpy_array

    return bytes(serialize_numpy_array(array))


def database() -> Database[dict[str, Any]]:
    """FiftyOne's database. Publicly only its datasets are reached."""
    from fiftyone.core.odm import get_db_conn

    found: Database[dict[str, Any]] = get_db_conn()
    return found


def start_app_server(address: str, port: int, timeout: int, token: str | None = None) -> None:
    """Start the guarded App server in the current folder, for `launch_app` to find and `session.close()` to stop.

    FiftyOne's own server has no public setting for a guard. `launch_app` gives it one minute, and if that is too short
    leaves a thread that logs a message every ten seconds; the timeout has no public setting. With a `token` this
    process's sessions send it. Raises `TimeoutError` after `timeout` seconds.
    """
    import fiftyone as fo
    import requests
    from fiftyone.core.service import ServerService, ServiceListenTimeout
    from fiftyone.core.session import client
    from fiftyone.core.session import session as sessions

    limit = timeout

    class PatientServer(ServerService):
        # The plugin's operators run in the server: relative paths of cards and RSAM_DATA resolve as they do here.
        working_dir = os.getcwd()

        @property
        def command(self) -> list[str]:
            # -P: no module is imported from the current folder.
            options = ["--port", str(port), "--address", address]
            return [sys.executable, "-P", "-m", "rsam_app.review.app.guarded_server", *options]

        @property
        def env(self) -> dict[str, str]:
            return {**super().env, **({TOKEN_VARIABLE: token} if token else {})}

        def _wait_for_child_port(self, port: int | None = None, timeout: int = limit) -> int:
            return int(super()._wait_for_child_port(port=port, timeout=max(timeout, limit)))

    if token:
        client.requests = requests.Session()
        client.requests.headers["Authorization"] = f"token {token}"
        client.requests.trust_env = False  # a .netrc would replace the header
    try:
        server = PatientServer(port, address=address, do_not_track=fo.config.do_not_track)
    except ServiceListenTimeout as error:
        raise TimeoutError(f"no answer on {address}:{port} within {timeout} s") from error
    sessions._server_services[port] = server


def serve_app(address: str, port: int, guard: Callable[[Any], Any]) -> None:
    """Run FiftyOne's App server behind a guard until the process ends, as FiftyOne's `server/main.py` runs it bare."""
    os.environ.pop("FIFTYONE_DISABLE_SERVICES", None)
    os.environ["FIFTYONE_SERVER"] = "1"
    import fiftyone  # noqa: F401 - the server's modules need it first
    from fiftyone.server.app import app
    from fiftyone.server.events import set_port
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{address}:{port}"]
    set_port(port)
    asyncio.run(serve(guard(app), config))
