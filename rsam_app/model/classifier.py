"""Any timm convnet with attention between its features and its head."""

from __future__ import annotations

from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from rsam_app.attention import RSAM, AttentionResult, PositionwiseAttention, geometry
from rsam_app.attention.gating import gate
from rsam_app.errors import UserError


class Look(NamedTuple):
    """What a model says about images and where it looked.

    `logits` `(B, classes)`; `rectangle` `(B, 5)` in network-input pixels and `mask` `(B, H, W)` on the feature map,
    both None without attention.
    """

    logits: Tensor
    rectangle: Tensor | None
    mask: Tensor | None


class Inspection(NamedTuple):
    """A `Look` and what a reviewer asks next: `embedding` `(B, D)` pooled as the classifier sees it, and the logits
    `(B, classes)` from inside and from outside the mask alone (None without attention)."""

    look: Look
    embedding: Tensor
    inside_logits: Tensor | None
    outside_logits: Tensor | None


class AttentiveClassifier(nn.Module):
    """features → attention → head, on a timm convnet.

    `attention` is `rsam`, `positionwise` or `none`; `predictor` is RSAM's. Raises `UserError` for a backbone whose
    features are no map.
    """

    backbone: Any  # timm's models have no common type
    pretrained_cfg: dict[str, Any]
    label_names: tuple[str, ...]
    _model_args: dict[str, Any]

    def __init__(
        self,
        backbone: str,
        attention: str = "rsam",
        predictor: str = "moments",
        num_classes: int = 1000,
        in_chans: int = 3,
        backbone_args: dict[str, Any] | None = None,
        backbone_weights: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            backbone, num_classes=num_classes, in_chans=in_chans, **(backbone_args or {}), **(backbone_weights or {})
        )
        self.num_classes, self.in_chans = num_classes, in_chans
        self.num_features: int = self.backbone.num_features
        self.head_hidden_size: int = self.backbone.head_hidden_size
        self.channels_first = refuse_unless_map(self.backbone, backbone, in_chans)
        self.attention: nn.Module | None = None
        if attention == "rsam":
            self.attention = RSAM(self.num_features, predictor)
        elif attention == "positionwise":
            self.attention = PositionwiseAttention(self.num_features)

    def forward(self, images: Tensor, return_look: bool = False) -> Tensor | Look:
        """Logits `(B, classes)` of normalised images `(B, 3, H, W)`, or a `Look`."""
        features = self.forward_features(images)
        result = self.attend(features)
        logits = self.forward_head(result.features if result else features)
        if not return_look:
            return logits
        return self._look(logits, result, images)

    def inspect(self, images: Tensor) -> Inspection:
        """A `Look` with its embedding and the inside/outside counterfactual."""
        features = self.forward_features(images)
        result = self.attend(features)
        seen = result.features if result else features
        look = self._look(self.forward_head(seen), result, images)
        embedding = self.forward_head(seen, pre_logits=True)
        if result is None:
            return Inspection(look, embedding, None, None)
        inside = self.forward_head(gate(features, result.mask))
        outside = self.forward_head(gate(features, 1 - result.mask))
        return Inspection(look, embedding, inside, outside)

    def forward_features(self, images: Tensor) -> Tensor:
        """The backbone's feature map, always channels first: `(B, C, H, W)`."""
        features: Tensor = self.backbone.forward_features(images)
        return features if self.channels_first else features.permute(0, 3, 1, 2)

    def attend(self, features: Tensor) -> AttentionResult | None:
        """The attention's result on a feature map `(B, C, H, W)`; None without attention."""
        return self.attention(features) if self.attention is not None else None

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits, or what the classifier's last layer sees, from a feature map `(B, C, H, W)`."""
        if not self.channels_first:
            features = features.permute(0, 2, 3, 1)
        out: Tensor = self.backbone.forward_head(features, pre_logits=pre_logits)
        return out

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        classifier: nn.Module = self.backbone.get_classifier()
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh last layer for `num_classes`, as timm's models offer it."""
        self.num_classes = num_classes
        self.backbone.reset_classifier(num_classes, global_pool)

    @staticmethod
    def _look(logits: Tensor, result: AttentionResult | None, images: Tensor) -> Look:
        if result is None:
            return Look(logits, None, None)
        height, width = result.mask.shape[1:]
        to_input = geometry.scaling(images.shape[3] / width, images.shape[2] / height, result.rectangle)
        rectangle = geometry.transform(result.rectangle, to_input.expand(len(images), 2, 3))
        return Look(logits, rectangle, result.mask)


def refuse_unless_map(backbone: Any, name: str, in_chans: int = 3) -> bool:
    """Whether the backbone's features are channels first. Raises `UserError` where they are tokens or lists."""
    size = (getattr(backbone, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[-1]
    with torch.no_grad():
        training = backbone.training
        features = backbone.eval().forward_features(torch.zeros(1, in_chans, size, size))
        backbone.train(training)
    if not isinstance(features, Tensor) or features.ndim != 4:
        shape = "a list" if not isinstance(features, Tensor) else f"tokens of shape {tuple(features.shape[1:])}"
        raise UserError(
            f"model.backbone: {name} gives {shape}, not a feature map, so a rectangle has nothing to gate.\n"
            "Take a convnet, e.g. mobilenetv2_100, resnet50, convnext_tiny or efficientnet_b0."
        )
    if features.shape[1] == backbone.num_features:
        return True
    if features.shape[3] == backbone.num_features:
        return False
    raise UserError(
        f"model.backbone: {name} gives features of shape {tuple(features.shape[1:])} and declares"
        f" {backbone.num_features} channels. Take another convnet."
    )
