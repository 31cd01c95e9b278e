"""Which weights made a thing that is kept."""

from __future__ import annotations

import hashlib

from rsam_app.model.classifier import AttentiveClassifier


def backbone_hash(model: AttentiveClassifier) -> str:
    """SHA-256 of the backbone's weights, the classifier's left out."""
    classifier = {id(p) for p in model.get_classifier().parameters()}
    attention = {id(p) for p in model.attention.parameters()} if model.attention is not None else set()
    digest = hashlib.sha256()
    for name, values in model.backbone.state_dict(keep_vars=True).items():
        if id(values) not in classifier | attention:
            digest.update(name.encode() + values.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
