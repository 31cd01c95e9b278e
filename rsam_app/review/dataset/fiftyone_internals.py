"""FiftyOne's private names; the only module of `review` that uses them.

Each docstring says which public API is missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bson import ObjectId
    from numpy.typing import ArrayLike
    from pymongo.collection import Collection


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


def view_stages(view: Any) -> list[Any]:
    """The stages of a view; of a dataset, none. Views do not list their stages publicly."""
    return list(getattr(view, "_stages", []))


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


def start_app_server(address: str, port: int, timeout: int) -> None:
    """Start FiftyOne's App server in the current folder, for `launch_app` to find and `session.close()` to stop.

    `launch_app` gives the server one minute, and if that is too short leaves a thread that logs a message every ten
    seconds; the timeout has no public setting. Raises `TimeoutError` after `timeout` seconds.
    """
    import fiftyone as fo
    import fiftyone.constants as foc
    from fiftyone.core.service import ServerService, ServiceListenTimeout
    from fiftyone.core.session import session as sessions

    limit = timeout

    class PatientServer(ServerService):
        # The plugin's operators run in the server: relative paths of cards and RSAM_DATA resolve as they do here.
        working_dir = os.getcwd()

        @property
        def command(self) -> list[str]:
            python, main, *options = super().command
            return [python, str(Path(foc.SERVER_DIR) / main), *options]

        def _wait_for_child_port(self, port: int | None = None, timeout: int = limit) -> int:
            return int(super()._wait_for_child_port(port=port, timeout=max(timeout, limit)))

    try:
        server = PatientServer(port, address=address, do_not_track=fo.config.do_not_track)
    except ServiceListenTimeout as error:
        raise TimeoutError(f"no answer on {address}:{port} within {timeout} s") from error
    sessions._server_services[port] = server
