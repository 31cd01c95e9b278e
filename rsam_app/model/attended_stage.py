"""A stage of a backbone with attention behind it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rsam_app.model.attention import AttentionResult


class AttendedStage(nn.Module):
    """A stage `(…) → (B, C, H, W)`, or `(B, H, W, C)`, whose output attention gates before the next stage.

    With `attends` off, its output is the stage's own.
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
        """Return the last forward pass's map and attention result, once: no graph outlives its step."""
        if self._last is None:
            raise RuntimeError("the stage has not run since its result was taken")
        last, self._last = self._last, None
        return last

    def __getstate__(self) -> dict[str, Any]:
        """Its state without the last forward pass, for copies."""
        return self.__dict__ | {"_last": None}
