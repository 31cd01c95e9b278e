"""Which weights made a thing that is kept."""

from __future__ import annotations

import hashlib

from rsam_app.model.classifier import AttentiveClassifier


def backbone_hash(model: AttentiveClassifier) -> str:
    """SHA-256 of the backbone: how it is built, what its inputs are normalised by, and its weights without the
    classifier's."""
    classifier = {id(p) for p in model.get_classifier().parameters()}
    attention = {id(p) for p in model.attention.parameters()} if model.attention is not None else set()
    built, given = model._model_args, model.pretrained_cfg
    settings = (built["backbone"], built["backbone_args"], tuple(given["mean"]), tuple(given["std"]))
    digest = hashlib.sha256(repr(settings).encode())
    for name, values in model.backbone.state_dict(keep_vars=True).items():
        if id(values) not in classifier | attention:
            digest.update(name.encode() + values.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
