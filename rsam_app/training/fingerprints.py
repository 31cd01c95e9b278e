"""What kept results depend on: weights and files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rsam_app.data.records import Record
from rsam_app.model import AttentiveClassifier


def backbone_hash(model: AttentiveClassifier) -> str:
    """SHA-256 of the backbone's weights, the classifier's left out."""
    classifier = {id(p) for p in model.get_classifier().parameters()}
    attention = {id(p) for p in model.attention.parameters()} if model.attention is not None else set()
    digest = hashlib.sha256()
    for name, values in model.backbone.state_dict(keep_vars=True).items():
        if id(values) not in classifier | attention:
            digest.update(name.encode() + values.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def files_hash(records: Sequence[Record | None]) -> str:
    """SHA-256 over the files of records: where they are, their size and when they were changed; None separates."""
    digest = hashlib.sha256()
    for record in records:
        status = record.path.stat() if record else None
        digest.update(
            repr(record and (str(record.path.resolve()), status and (status.st_size, status.st_mtime_ns))).encode()
        )
    return digest.hexdigest()
