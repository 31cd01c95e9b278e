"""The process of the App's server: FiftyOne's, behind our guard. `start_app_server` starts it."""

from __future__ import annotations

import argparse
import os
from functools import partial

from rsam_app.review.app.guard import Guard
from rsam_app.review.app.media_files import is_media
from rsam_app.review.dataset.fiftyone_internals import TOKEN_VARIABLE, serve_app


def main() -> None:
    """Serve the App until the process ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", required=True)
    given = parser.parse_args()
    token = os.environ.pop(TOKEN_VARIABLE, None)  # not for processes that operators start
    guard = partial(Guard, address=given.address, port=given.port, is_media=is_media, token=token)
    serve_app(given.address, given.port, guard)


if __name__ == "__main__":
    main()
