"""Any timm convnet with attention between its features and its head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.attended_stage import AttendedStage, stage_of
from rsam_app.model.attention import RSAM, AttentionResult, MapAttention, PositionwiseAttention
from rsam_app.model.attention.gating import gate
from rsam_app.model.attention.predictors import PREDICTORS
from rsam_app.model.attention.second_look import shrunk, upright_crop
from rsam_app.system.errors import UserError


class AttentiveOutput(NamedTuple):
    """What a model says about images and where it looked.

    `logits` `(B, classes)`; `rectangle` `(B, 5)` in network-input pixels and `mask` `(B, H, W)` on the feature map,
    both None without attention. `each` `(looks, B, classes)` holds the logits of the first look and, where there is
    one, of the second; `logits` is their mean. `outside` `(B, classes)` are the logits of what the mask leaves out,
    where asked for.
    """

    logits: Tensor
    rectangle: Tensor | None
    mask: Tensor | None
    each: Tensor
    outside: Tensor | None = None


class Inspection(NamedTuple):
    """An output and what a reviewer asks next.

    `embedding` `(B, D)` pooled as the classifier sees it, the logits `(B, classes)` from inside and from outside the
    mask alone, and the `features` `(B, C, H, W)` before the gate (None without attention).
    """

    output: AttentiveOutput
    embedding: Tensor
    inside_logits: Tensor | None
    outside_logits: Tensor | None
    features: Tensor | None = None


CELLS = 4096
"""Cells that the head is asked about at once: with ten thousand classes their logits take 160 MB."""

DETAIL = 2
"""Pixels of the input to one pixel of the first look, along a side, where a model looks twice."""


class AttentiveClassifier(nn.Module):
    """features → attention → head, on a timm convnet.

    `attention` is `rsam`, `positionwise`, `conv_map` or `none`; `predictor` is RSAM's. It gates the last map, or,
    with a `stage` counted from 0, what that stage gives to the next one. With `second_look` the input has
    `DETAIL` times the pixels along each side that the backbone looks at: the first look sees all of it, shrunk; the
    second, by the same backbone and head, an upright crop around the rectangle at full resolution. Setting the
    attribute `second_look` to False leaves the first look alone, for half the time. Raises `UserError` for a backbone
    whose features are no map.
    """

    backbone: Any  # timm's models have no common type
    pretrained_cfg: dict[str, Any]
    label_names: tuple[str, ...]
    _model_args: dict[str, Any]
    attention: nn.Module | None
    _attended: AttendedStage | None

    def __init__(
        self,
        backbone: str,
        attention: str = "rsam",
        predictor: str = "profiles",
        num_classes: int = 1000,
        in_chans: int = 3,
        backbone_args: dict[str, Any] | None = None,
        backbone_weights: dict[str, Any] | None = None,
        second_look: bool = False,
        stage: int = -1,
        gate: str = "wide",
    ) -> None:
        super().__init__()
        self.detail = DETAIL if second_look else 1
        self.second_look = second_look
        self.backbone = timm.create_model(
            backbone, num_classes=num_classes, in_chans=in_chans, **(backbone_args or {}), **(backbone_weights or {})
        )
        self.num_classes, self.in_chans = num_classes, in_chans
        self.num_features: int = self.backbone.num_features
        self.head_hidden_size: int = self.backbone.head_hidden_size
        side = (backbone_args or {}).get("img_size")
        self.channels_first = refuse_unless_map(self.backbone, backbone, in_chans, side)
        # How many of the backbone's last stages the attention looks at beside the last map.
        self.stages_seen = 0
        # Neither is registered twice: a staged attention belongs to the backbone's tree.
        self.__dict__["_attended"] = None
        if stage == -1 or attention == "none":
            looks_at_stages = attention == "rsam" and PREDICTORS[predictor].looks_at_stages
            channels = stage_channels(self.backbone, in_chans, side) if looks_at_stages else ()
            # Both looks go through one head, so the first one's features must keep the size of the second's.
            gating = "residual" if second_look else None
            self.attention = make_attention(attention, predictor, self.num_features, channels, gate, gating)
            self.stages_seen = len(channels)
        else:
            place, gated = stage_of(self.backbone, stage, backbone)
            module = cast(nn.Module, make_attention(attention, predictor, gated, (), gate))
            wrapped = AttendedStage(self.backbone.get_submodule(place), module, self.channels_first)
            self.backbone.set_submodule(place, wrapped)
            self.__dict__["_attended"], self.__dict__["attention"] = wrapped, module

    def forward(self, images: Tensor, return_output: bool = False, outside: bool = False) -> Tensor | AttentiveOutput:
        """Logits `(B, classes)` of normalised images `(B, 3, H, W)`; all of the output with `return_output`."""
        features, result, rectangle, looks = self._forward(images)
        each = torch.stack([self.forward_head(seen) for seen in looks])
        return self._report(features, result, rectangle, each, outside) if return_output else each.mean(dim=0)

    def forward_maps(
        self, features: Tensor, stages: Sequence[Tensor], size: Sequence[int], outside: bool = False
    ) -> AttentiveOutput:
        """An `AttentiveOutput` from maps that `maps` gave of images of `size` (height, width)."""
        result = self.attend(features, stages)
        each = self.forward_head(features if result is None else result.features)[None]
        return self._report(features, result, self.to_input(result, size), each, outside)

    def inspect(self, images: Tensor) -> Inspection:
        """An `AttentiveOutput` with its embedding (mean over the looks) and the first look's inside/outside logits."""
        features, result, rectangle, looks = self._forward(images)
        each = torch.stack([self.forward_head(seen) for seen in looks])
        embedding = torch.stack([self.forward_head(seen, pre_logits=True) for seen in looks]).mean(dim=0)
        if result is None:
            return Inspection(AttentiveOutput(each.mean(dim=0), None, None, each), embedding, None, None)
        inside, outside = self._of_part(features, result), self._of_part(features, result, inside=False)
        return Inspection(
            AttentiveOutput(each.mean(dim=0), rectangle, result.mask, each), embedding, inside, outside, features
        )

    def point(self, images: Tensor) -> Tensor | None:
        """Where one look at normalised images `(B, 3, H, W)` goes: rectangles `(B, 5)` in their pixels, without the
        head's and a second look's cost; None without attention."""
        return self.to_input(self.see(self.shrink(images))[1], images.shape[2:])

    def class_map(self, features: Tensor, classes: Tensor) -> Tensor:
        """What each cell of features `(B, C, H, W)` alone says for one class an image `(B,)`: `(B, H, W)`.

        The class's logit of that cell less the mean over all classes'. With a linear head this is the class activation
        map of Zhou et al. 2016 (arXiv 1512.04150); other heads are asked cell by cell.
        """
        batch, channels, height, width = features.shape
        cells = features.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        wanted = classes.repeat_interleave(height * width)
        said = []
        for part, of in zip(cells.split(CELLS), wanted.split(CELLS), strict=True):
            logits = self.forward_head(part).float()
            said.append(logits.gather(1, of[:, None])[:, 0] - logits.mean(dim=1))
        return torch.cat(said).reshape(batch, height, width)

    def _forward(self, images: Tensor) -> tuple[Tensor, AttentionResult | None, Tensor | None, list[Tensor]]:
        """The first look's map `(B, C, H, W)`, what attention found on it, its rectangle in pixels of the images, and
        what the head sees of each look."""
        features, result = self.see(self.shrink(images))
        rectangle = self.to_input(result, images.shape[2:])
        looks = [features if result is None or self._attended is not None else result.features]
        if self.second_look and rectangle is not None:
            looks.append(self._forward_once(self.crop(images, rectangle)))
        return features, result, rectangle, looks

    def see(self, images: Tensor) -> tuple[Tensor, AttentionResult | None]:
        """The last feature map `(B, C, H, W)` of one look at images, and what attention found there or at its stage."""
        features, stages = self.maps(images)
        return features, self.attend(features, stages) if self._attended is None else self._attended.take()[1]

    def maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last feature map `(B, C, H, W)` of one look at images, and those of the stages that attention looks at
        beside it, earlier ones first; the list is empty where it looks at none."""
        if not self.stages_seen:
            return self.forward_features(images), []
        features, stages = self.backbone.forward_intermediates(images, indices=self.stages_seen)
        return features if self.channels_first else features.permute(0, 3, 1, 2), stages

    def evidence(self, images: Tensor) -> list[Tensor]:
        """The maps that the rectangle is predicted from in one look at images, the one it is in cells of last."""
        features, stages = self.maps(images)
        if self._attended is not None:
            features = self._attended.take()[0]
        return stages or [features]

    def shrink(self, images: Tensor) -> Tensor:
        """What the first look sees of images `(B, 3, H, W)`: each pixel the mean of `detail`² of the input's."""
        return shrunk(images, self.detail) if self.detail > 1 else images

    def crop(self, images: Tensor, rectangle: Tensor) -> Tensor:
        """What the second look sees `(B, 3, H / detail, W / detail)` of images around rectangles in their pixels.

        No gradient goes through the place of the crop: what makes a crop easier to classify need not be the object.
        """
        return upright_crop(images, rectangle.detach(), images.shape[2] // self.detail, images.shape[3] // self.detail)

    def forward_features(self, images: Tensor) -> Tensor:
        """The backbone's feature map, always channels first: `(B, C, H, W)`."""
        features: Tensor = self.backbone.forward_features(images)
        return features if self.channels_first else features.permute(0, 3, 1, 2)

    def attend(self, features: Tensor, stages: Sequence[Tensor] = ()) -> AttentionResult | None:
        """The attention's result on the last feature map `(B, C, H, W)`, with the maps of stages where it looks at
        them; None without attention, or where it gated an earlier stage already."""
        if self.attention is None or self._attended is not None:
            return None
        result: AttentionResult = self.attention(features, stages) if self.stages_seen else self.attention(features)
        return result

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits, or what the classifier's last layer sees, from a feature map `(B, C, H, W)`."""
        if not self.channels_first:
            features = features.permute(0, 2, 3, 1)
        out: Tensor = self.backbone.forward_head(features, pre_logits=pre_logits)
        return out

    def get_classifier(self) -> nn.Module:
        """The last layer; a list of both where the backbone has two, as distilled ones have."""
        layers: nn.Module | tuple[nn.Module, ...] = self.backbone.get_classifier()
        return nn.ModuleList(layers) if isinstance(layers, tuple) else layers

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh last layer for `num_classes`, as timm's models offer it."""
        self.num_classes = num_classes
        self.backbone.reset_classifier(num_classes, global_pool)

    def _report(
        self, features: Tensor, result: AttentionResult | None, rectangle: Tensor | None, each: Tensor, outside: bool
    ) -> AttentiveOutput:
        logits = each.mean(dim=0)
        if result is None:
            return AttentiveOutput(logits, None, None, each)
        rest = self._of_part(features, result, inside=False) if outside else None
        return AttentiveOutput(logits, rectangle, result.mask, each, rest)

    def _of_part(self, features: Tensor, result: AttentionResult, inside: bool = True) -> Tensor:
        """Logits of what is inside, or outside, of the mask alone, at the level that the head is used to."""
        mask = _at_size_of(features, result.mask)
        part = gate(features, mask if inside else 1 - mask)
        if result.level is not None and self._attended is None:
            part = part * result.level[:, None, None, None].to(part.dtype)
        return self.forward_head(part)

    def _forward_once(self, images: Tensor) -> Tensor:
        if self._attended is None:
            return self.forward_features(images)
        self._attended.attends = False
        try:
            return self.forward_features(images)
        finally:
            self._attended.attends = True

    @staticmethod
    def to_input(result: AttentionResult | None, size: Sequence[int]) -> Tensor | None:
        """The rectangle `(B, 5)` of an attention's result in pixels of images of `size` (height, width); None without
        one."""
        if result is None:
            return None
        return geometry.rescale(result.rectangle, result.mask.shape[1:], size)


def make_attention(
    name: str,
    predictor: str,
    channels: int,
    stage_channels: Sequence[int] = (),
    reach: str = "wide",
    gating: str | None = None,
) -> nn.Module | None:
    """The attention module of that name for maps of so many channels; None for `none`. RSAM may look at maps of
    stages, of `stage_channels` each; its gate reaches as far as `reach` says and works as that does, or by another
    `gating`."""
    if name == "rsam":
        return RSAM(channels, predictor, stage_channels, gating, reach)
    return {"positionwise": PositionwiseAttention, "conv_map": MapAttention}[name](channels) if name != "none" else None


def _at_size_of(features: Tensor, mask: Tensor) -> Tensor:
    """A mask `(B, h, w)` on the grid of features `(B, C, H, W)`."""
    if mask.shape[1:] == features.shape[2:]:
        return mask
    return F.interpolate(mask[:, None], size=features.shape[2:], mode="area")[:, 0]


def stage_channels(backbone: Any, in_chans: int = 3, side: int | None = None) -> tuple[int, ...]:
    """The channels of the backbone's last two stages, earlier first; none where it does not give its stages' maps."""
    if not hasattr(backbone, "forward_intermediates") or len(getattr(backbone, "feature_info", None) or []) < 2:
        return ()
    _, stages = _dry_run(backbone, in_chans, side, lambda images: backbone.forward_intermediates(images, indices=2))
    return tuple(stage.shape[1] for stage in stages)


def _dry_run(backbone: Any, in_chans: int, side: int | None, run: Callable[[Tensor], Any]) -> Any:
    """What `run` gives for a black image of the backbone's own size, or of `side` pixels."""
    size = side or (getattr(backbone, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[-1]
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        result = run(torch.zeros(1, in_chans, size, size))
    backbone.train(training)
    return result


def refuse_unless_map(backbone: Any, name: str, in_chans: int = 3, side: int | None = None) -> bool:
    """Whether the backbone's features are channels first. Raises `UserError` where they are tokens or lists.

    `side` is that of the images, where the backbone was built for another than its own."""
    features = _dry_run(backbone, in_chans, side, backbone.forward_features)
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
