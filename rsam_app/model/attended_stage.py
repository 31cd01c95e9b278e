"""A stage of a backbone with attention behind it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rsam_app.model.attention import AttentionResult
from rsam_app.system.errors import UserError


class AttendedStage(nn.Module):
    """A stage `(…) → (B, C, H, W)`, or `(B, H, W, C)`, whose output attention gates before the next stage sees it.

    With `attends` off, the stage is as it was.
    """

    def __init__(self, stage: nn.Module, attention: nn.Module, channels_first: bool) -> None:
        super().__init__()
        self.stage, self.attention, self.channels_first = stage, attention, channels_first
        self.attends = True
        self._last: tuple[Tensor, AttentionResult] | None = None

    def forward(self, *inputs: Any, **settings: Any) -> Tensor:
        """The stage's output, gated."""
        out: Tensor = self.stage(*inputs, **settings)
        if not self.attends:
            return out
        maps = out if self.channels_first else out.permute(0, 3, 1, 2)
        result: AttentionResult = self.attention(maps)
        self._last = (maps, result)
        gated = result.features
        return gated if self.channels_first else gated.permute(0, 2, 3, 1)

    def take(self) -> tuple[Tensor, AttentionResult]:
        """The map that attention saw in the last pass and what it found there; they are then forgotten, so that no
        graph outlives its step."""
        if self._last is None:
            raise RuntimeError("the stage was not run, or its result was taken already")
        last, self._last = self._last, None
        return last

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes along: not the last pass."""
        return self.__dict__ | {"_last": None}


def stage_of(backbone: Any, index: int, name: str) -> tuple[str, int]:
    """The module's name and the channels of a backbone's stage, counted from 0 as timm's `feature_info` does.

    Raises `UserError` where there is no such stage, or the backbone does not tell."""
    info = list(getattr(backbone, "feature_info", None) or [])
    modules = dict(backbone.named_modules())
    usable = [i for i, entry in enumerate(info) if entry.get("module") in modules]
    if index not in usable:
        have = ", ".join(map(str, usable[:-1])) or "none besides the last"
        raise UserError(
            f"model.stage: {name} has no stage {index} (has: {have}). Take one of these, or -1 for the last."
        )
    return str(info[index]["module"]), int(info[index]["num_chs"])
