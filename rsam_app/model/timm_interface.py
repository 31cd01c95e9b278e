"""timm's model interface, delegated to the backbone with prefixed names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

PREFIX = "backbone."


class TimmInterface(nn.Module):
    """Methods of timm's models that its optimizers, feature extraction and training script call."""

    backbone: Any

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Channels, reduction and module of each of the backbone's stages, as timm describes them."""
        info = self.backbone.feature_info
        listed: Sequence[dict[str, Any]] = info if isinstance(info, list) else info.info
        return [
            {**stage, "module": f"{PREFIX}{stage['module']}"} if stage.get("module") else dict(stage)
            for stage in listed
        ]

    def forward_intermediates(
        self, x: Tensor, indices: int | list[int] | None = None, **options: Any
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The backbone's last map and those of its stages, before attention, for normalised images `(B, 3, H, W)`.

        `indices` and the options are those of timm's `forward_intermediates`.
        """
        result: list[Tensor] | tuple[Tensor, list[Tensor]] = self.backbone.forward_intermediates(
            x, indices=indices, **options
        )
        return result

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that sort parameters into layers, for a learning rate by layer; attention and head come last."""
        return {name: _below_backbone(pattern) for name, pattern in self.backbone.group_matcher(coarse=coarse).items()}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the backbone's activations again in the backward pass instead of storing them."""
        self.backbone.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that must not decay, such as position embeddings."""
        names = self.backbone.no_weight_decay() if hasattr(self.backbone, "no_weight_decay") else ()
        return {f"{PREFIX}{name}" for name in names}


def _below_backbone(pattern: Any) -> Any:
    """timm's pattern, or list of patterns with group numbers, for names that begin with `backbone.`"""
    if isinstance(pattern, str):
        return rf"^backbone\.(?:{pattern.replace('^', '')})"
    return [(_below_backbone(part), number) for part, number in pattern]
