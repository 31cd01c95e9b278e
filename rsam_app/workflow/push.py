"""`rsam push RUN ORGANISATION/NAME`: a run's model on the hub, with its model card."""

from __future__ import annotations

import json
import re

from rsam_app.run.job import Job
from rsam_app.system.errors import UserError, reason_of
from rsam_app.workflow.model_card import PICTURE, write_model_card

FILES = ("config.json", "model.safetensors", "README.md")
"""What is always uploaded."""


def push(job: Job, name: str, private: bool = False, picture: bool = True) -> str:
    """Create the hub's repository `name` if needed and upload the run's model and card; returns its address.

    Raises `UserError` for a wrong name, a run without a model or evaluation, and if the hub refuses or cannot be
    reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    from rsam_app.model import load_model
    from rsam_app.model.hub import no_answer
    from rsam_app.model.store import KNOWN_CLASSES

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"{name}: is not a valid model name. Give ORGANISATION/NAME.")
    load_model(job.run.model)  # raises if it is missing or damaged
    write_model_card(job, name, picture)
    files = [*FILES, *(file for file in (KNOWN_CLASSES, PICTURE) if (job.run.model / file).is_file())]
    api = HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        api.create_commit(
            name,
            [CommitOperationAdd(file, str(job.run.model / file)) for file in files],
            commit_message="Upload an RSAM classifier",
        )
    except HFValidationError as error:
        raise UserError(f"{name}: is not a valid model name ({reason_of(error)}). Give ORGANISATION/NAME.") from error
    except HfHubHTTPError as error:
        raise UserError(
            f"{name}: the hub refuses the upload ({reason_of(error)}).\n"
            "Log in with `hf auth login`, with a token that may write to this organisation."
        ) from error
    except no_answer() as error:
        raise UserError(
            f"{name}: the upload did not finish, as the hub cannot be reached ({reason_of(error)}).\n"
            "Run `rsam push` again; the repository may exist already, without files."
        ) from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(
            f"{name}: the hub's answer cannot be read ({reason_of(error)}).\n"
            "Check HF_ENDPOINT, and whether a proxy answers instead of the hub; then run `rsam push` again."
        ) from error
    return str(address)
