"""timm's names and its hub: the name nearest to an unknown one, and whether the hub can be reached."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import timm

from rsam_app.config import ModelConfig
from rsam_app.system.errors import UserError, reason_of, suggest

FILES = ("model.safetensors", "pytorch_model.bin")
"""Names under which timm's hub stores weights."""


def require_known(backbone: str) -> None:
    """Raise `UserError`, with the nearest of timm's names, unless `backbone` is one, with or without a tag."""
    architecture, _, tag = backbone.partition(".")
    architectures = timm.list_models()
    if architecture in architectures and (not tag or _has_weights(backbone)):
        return
    plain = backbone.rpartition(":")[2].rpartition("/")[2]
    architecture, _, tag = plain.partition(".")
    if plain != backbone and architecture in architectures and (not tag or _has_weights(plain)):
        raise UserError(
            f"model.backbone: {backbone!r} is the name of a file on a hub; timm's own name is {plain!r}. Write that."
        )
    if architecture in architectures:
        tagged = [name for name in timm.list_pretrained() if name.partition(".")[0] == architecture]
        raise UserError(
            f"model.backbone: timm has no weights {tag!r} of {architecture}."
            f"{suggest(plain, tagged) or f' Write {architecture!r}.'}"
        )
    hint = suggest(architecture, architectures) or " See timm.list_models()."
    raise UserError(f"model.backbone: timm has no {backbone!r}.{hint}")


def _has_weights(tagged: str) -> bool:
    try:
        return timm.get_pretrained_cfg(tagged, allow_unregistered=True) is not None
    except RuntimeError:  # timm has no exception class for an unknown tag
        return False


def require_reachable(config: ModelConfig) -> None:
    """Raise `UserError` if the backbone's weights are on a hub that does not answer and not in its local cache.

    Asks once, for at most `HF_HUB_ETAG_TIMEOUT` seconds; timm would ask eleven times for each of two files.
    """
    cfg = timm.get_pretrained_cfg(config.backbone, allow_unregistered=True)
    hub_id = getattr(cfg, "hf_hub_id", None)
    if not hub_id:
        return
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    repository, _, revision = hub_id.partition("@")
    if any(isinstance(try_to_load_from_cache(repository, f, revision=revision or None), str) for f in FILES):
        return
    try:
        get_hf_file_metadata(hf_hub_url(repository, FILES[0], revision=revision or None))
    except HfHubHTTPError:  # an answer; timm finds the file, or says what is wrong with it
        return
    except no_answer() as error:
        raise UserError(_unreachable(config, error)) from error


def hub_file(name: str, file: str) -> Path | None:
    """A file of the repository `ORGANISATION/NAME[@REVISION]`, from the hub or its local cache; None if it has no such
    file. Raises `UserError` if the name is none, or the hub refuses or cannot be reached.

    Asks once, for at most `HF_HUB_ETAG_TIMEOUT` seconds, before the hub's client asks six times for a minute each.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, given = name.partition("@")
    revision = given or None
    try:
        if not isinstance(try_to_load_from_cache(repository, file, revision=revision), str):
            get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=HF_HUB_ETAG_TIMEOUT)
        return Path(hf_hub_download(repository, file, revision=revision))
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):  # raised without a connection
            raise UserError(_not_cached(name, error)) from error
        return None
    except HFValidationError as error:
        raise UserError(f"hf-hub:{name}: write hf-hub:ORGANISATION/NAME ({reason_of(error)}).") from error
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code >= 500:
            raise UserError(f"hf-hub:{name}: the hub failed ({reason_of(error)}).\nTry again later.") from error
        raise UserError(
            f"the hub has no {name} that you may read ({reason_of(error)}).\n"
            "Check the name; for a private or gated model, log in with `hf auth login` or set HF_TOKEN."
        ) from error
    except no_answer() as error:
        raise UserError(_not_cached(name, error)) from error


def remedy_for_damaged(name: str) -> str:
    """What to do about a model of the hub that arrived and cannot be loaded."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=name.partition("@")[0], repo_type="model")
    return f"Check the model on the hub. If it was damaged on the way, remove {folder} and rerun."


def _not_cached(name: str, error: BaseException) -> str:
    return (
        f"hf-hub:{name} is not in the hub's local cache; the hub cannot be reached ({reason_of(error)}).\n"
        "Connect once, or copy the repository's files to a folder and give local-dir:FOLDER."
    )


def no_answer() -> tuple[type[Exception], ...]:
    """Errors of the hub's client if the hub cannot be reached; its HTTP library depends on its version.

    They include `HfHubHTTPError`, an answer that refuses: handle that first.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, *cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__))


def _unreachable(config: ModelConfig, error: BaseException) -> str:
    file = f"{config.backbone.partition('.')[0]}.safetensors"
    folder = os.environ.get("RSAM_WEIGHTS")
    tried = f"RSAM_WEIGHTS ({folder}) has no {file}, and " if folder else ""
    return (
        f"model.weights: {tried}timm's hub, which has the weights of {config.backbone}, cannot be reached"
        f" ({reason_of(error)}).\n"
        f"Put {file} into a folder and set RSAM_WEIGHTS to it, or set model.weights to a file, or to none."
    )
