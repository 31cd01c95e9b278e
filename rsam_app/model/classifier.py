"""Any timm network with attention between its features and its head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.attended_stage import AttendedStage
from rsam_app.model.attention import RSAM, AttentionResult, ClassMapAttention, MapAttention, PositionwiseAttention
from rsam_app.model.attention.gating import gate
from rsam_app.model.attention.predictors import PREDICTORS
from rsam_app.model.attention.second_look import LOOSE, shrunk, upright_crop
from rsam_app.model.backbone import last_two_channels, layout_of, no_stage_of_tokens, stage_of
from rsam_app.model.feature_layout import TokenLayout
from rsam_app.model.memory_layout import use_channels_last
from rsam_app.model.roll_up import RollUp
from rsam_app.model.timm_interface import TimmInterface

CELLS_PER_BATCH = 4096
"""Cells that `class_map` sends through the head at once: with ten thousand classes their logits take 160 MB."""

DETAIL = 2
"""Input pixels per pixel of the shrunk whole image, along a side, in a model with a second look."""


class AttentiveOutput(NamedTuple):
    """A model's logits for images, and the rectangle behind them.

    `logits` `(B, classes)`; `rectangle` `(B, 5)` in network-input pixels and `mask` `(B, H, W)` on the feature map,
    both None without attention. `view_logits` `(views, B, classes)` are those of the views that are classified, the
    whole image and, with a second look, the crop, or the crop alone; `logits` is their mean. `outside` `(B, classes)`
    are the logits of what the mask leaves out, if requested.
    """

    logits: Tensor
    rectangle: Tensor | None
    mask: Tensor | None
    view_logits: Tensor
    outside: Tensor | None = None


class Inspection(NamedTuple):
    """An output with what scores and embeddings are computed from.

    `embedding` `(B, D)` pooled as the classifier's input, the logits `(B, classes)` from inside and from outside the
    mask alone, and the `features` `(B, C, H, W)` before the gate (None without attention).
    """

    output: AttentiveOutput
    embedding: Tensor
    inside_logits: Tensor | None
    outside_logits: Tensor | None
    features: Tensor | None = None


class AttentiveClassifier(TimmInterface):
    """features → attention → head, on a timm convnet or transformer.

    `attention` is `rsam`, `positionwise`, `conv_map`, `class_map` or `none`; `predictor` is RSAM's. It gates the
    last map, or the output of a `stage`, counted from 0. With `second_look` the input has `DETAIL` times the
    backbone's pixels along each side: the whole image is shrunk to them, and the crop, upright around the
    rectangle, keeps the full resolution; both go through one backbone and head. `crop_context` scales the box that
    is cropped. With `unsure` a crop is only classified if the whole image leaves less confidence than
    `second_look_below`; in training all are. With `only` the head sees the crop alone, and the whole image is
    looked at to find the rectangle. Setting the attribute `second_look` to False leaves the crop out and halves the
    time. A transformer's tokens become a map by its `layout` (see `TokenLayout`). Raises `UserError` for a backbone
    whose features are neither.
    """

    pretrained_cfg: dict[str, Any]
    label_names: tuple[str, ...]
    _model_args: dict[str, Any]
    pretrained: dict[str, Any]
    """Where `build_model` found the backbone's weights, and the share of its tensors that arrived: `run.json`'s
    entry."""
    attention: nn.Module | None
    """The attention on the last map; None if there is none or a stage has it: see `attention_module`."""

    def __init__(
        self,
        backbone: str,
        attention: str = "rsam",
        predictor: str = "peaks",
        num_classes: int = 1000,
        in_chans: int = 3,
        backbone_args: dict[str, Any] | None = None,
        backbone_weights: dict[str, Any] | None = None,
        second_look: bool | str = False,
        stage: int = -1,
        gate: str = "wide",
        crop_context: float = LOOSE,
    ) -> None:
        super().__init__()
        self.crop_context = crop_context
        self.detail = DETAIL if second_look else 1
        self.second_look = second_look
        self.backbone = timm.create_model(
            backbone,
            num_classes=num_classes,
            in_chans=in_chans,
            **{**(backbone_args or {}), **(backbone_weights or {})},
        )
        self.num_classes, self.in_chans = num_classes, in_chans
        self.num_features: int = self.backbone.num_features
        self.head_hidden_size: int = self.backbone.head_hidden_size
        side = (backbone_args or {}).get("img_size")
        self.layout = layout_of(self.backbone, backbone, in_chans, side)
        self.predictor_stages = 0  # last stages that the rectangle is predicted from; 0: from the gated map
        self._stage_name: str | None = None
        if stage == -1 or attention == "none":
            from_stages = attention == "rsam" and PREDICTORS[predictor].uses_stages
            channels = last_two_channels(self.backbone, in_chans, side) if from_stages else ()
            # One head classifies both views, so the whole image's gated features must keep the size of the crop's.
            gating = "residual" if second_look else None
            self.attention = make_attention(attention, predictor, self.layout.channels, channels, gate, gating)
            self.predictor_stages = len(channels)
        else:
            if isinstance(self.layout, TokenLayout):
                raise no_stage_of_tokens(backbone)
            self._stage_name, gated = stage_of(self.backbone, stage, backbone)
            module = cast(nn.Module, make_attention(attention, predictor, gated, (), gate))
            wrapped = AttendedStage(self.backbone.get_submodule(self._stage_name), module, self.channels_first)
            self.backbone.set_submodule(self._stage_name, wrapped)
            self.attention = None
        use_channels_last(self)

    @property
    def channels_first(self) -> bool:
        """Whether the backbone's own maps, if it has any, are `(B, C, H, W)` rather than `(B, H, W, C)`."""
        return self.layout.channels_first

    @property
    def temperature(self) -> float | None:
        """What to divide the logits by to get calibrated probabilities; None if it has not been fitted."""
        temperature: float | None = self.pretrained_cfg.get("temperature")
        return temperature

    @property
    def second_look_below(self) -> float:
        """The confidence in the whole image below which `unsure` looks again; infinite if it has not been fitted."""
        return float(self.pretrained_cfg.get("second_look_below") or math.inf)

    @property
    def roll_up(self) -> RollUp | None:
        """How to roll unsure answers up the classes' hierarchy; None without a hierarchy or a fitted threshold."""
        fitted = self.pretrained_cfg.get("roll_up")
        return None if fitted is None else RollUp.of(self.pretrained_cfg["label_names"], fitted)

    @property
    def attended_stage(self) -> AttendedStage | None:
        """The backbone's stage that attention gates; None if it gates the last map, or nothing."""
        return None if self._stage_name is None else cast(AttendedStage, self.backbone.get_submodule(self._stage_name))

    @property
    def attention_module(self) -> nn.Module | None:
        """The attention on the last map or on a stage; None without attention."""
        stage = self.attended_stage
        return self.attention if stage is None else stage.attention

    # ---- whole models

    def forward(self, images: Tensor, return_output: bool = False, outside: bool = False) -> Tensor | AttentiveOutput:
        """Logits `(B, classes)` of normalised images `(B, 3, H, W)`; the whole output with `return_output`."""
        features, result, rectangle, views = self._forward_views(images)
        view_logits = torch.stack([self.forward_head(view) for view in views])
        if return_output:
            return self._output(features, result, rectangle, view_logits, outside)
        return view_logits.mean(dim=0)

    def forward_maps(
        self,
        features: Tensor,
        stages: Sequence[Tensor],
        size: Sequence[int],
        outside: bool = False,
        crop: Tensor | None = None,
    ) -> AttentiveOutput:
        """The output for the maps of images of `size` (height, width), as `maps` returns them, and, with a second look,
        for the crops' embeddings `(B, D)`."""
        result = self.attend(features, stages)
        logits = [] if crop is None else [self.get_classifier()(crop)]
        if self.second_look != "only":
            logits.insert(0, self.forward_head(features if result is None else result.features))
        return self._output(features, result, self.to_input(result, size), torch.stack(logits), outside)

    def inspect(self, images: Tensor) -> Inspection:
        """The output with its embedding (mean over the views) and the whole image's inside and outside logits."""
        output, embedding, features, result = self._embed(images)
        if result is None:
            return Inspection(output, embedding, None, None)
        inside, outside = self._part_logits(features, result), self._part_logits(features, result, inside=False)
        return Inspection(output, embedding, inside, outside, features)

    def embed(self, images: Tensor) -> tuple[AttentiveOutput, Tensor]:
        """The output for images, and their embedding `(B, D)`, as `inspect` returns both but without its parts."""
        return self._embed(images)[:2]

    def _embed(self, images: Tensor) -> tuple[AttentiveOutput, Tensor, Tensor, AttentionResult | None]:
        """The output, the embedding `(B, D)`, and the whole images' map with its attention result."""
        features, result, rectangle, views = self._forward_views(images)
        view_logits = torch.stack([self.forward_head(view) for view in views])
        embedding = torch.stack([self.forward_head(view, pre_logits=True) for view in views]).mean(dim=0)
        return self._output(features, result, rectangle, view_logits), embedding, features, result

    def locate(self, images: Tensor) -> Tensor | None:
        """The rectangles `(B, 5)` of normalised images `(B, 3, H, W)`, in their pixels; None without attention.

        Cheaper than `forward`: neither the head nor a second look runs.
        """
        return self.to_input(self.forward_attention(self.shrink(images))[1], images.shape[2:])

    def class_map(self, features: Tensor, classes: Tensor) -> Tensor:
        """The evidence `(B, H, W)` of each cell of features `(B, C, H, W)` for one class per image `(B,)`.

        It is the cell's own logit for the class less its mean over all classes. With a linear head this is the class
        activation map of Zhou et al. 2016 (arXiv 1512.04150); other heads classify each cell alone.
        """
        batch, channels, height, width = features.shape
        cells = features.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        wanted = classes.repeat_interleave(height * width)
        parts = []
        for part, of in zip(cells.split(CELLS_PER_BATCH), wanted.split(CELLS_PER_BATCH), strict=True):
            logits = self.forward_head(part).float()
            parts.append(logits.gather(1, of[:, None])[:, 0] - logits.mean(dim=1))
        return torch.cat(parts).reshape(batch, height, width)

    # ---- the two views of a second look

    def shrink(self, images: Tensor) -> Tensor:
        """The whole images at the backbone's resolution: each pixel the mean of `detail`² of `(B, 3, H, W)`."""
        return shrunk(images, self.detail) if self.detail > 1 else images

    def crop(self, images: Tensor, rectangle: Tensor) -> Tensor:
        """The crops `(B, 3, H / detail, W / detail)` of images around rectangles in their pixels.

        No gradient flows to the crop's position: what makes a crop easier to classify need not be the object.
        """
        height, width = images.shape[2] // self.detail, images.shape[3] // self.detail
        return upright_crop(images, rectangle.detach(), height, width, self.crop_context)

    def crop_features(self, images: Tensor, rectangle: Tensor) -> Tensor:
        """The crops' map `(B, C, H, W)`, without attention."""
        return self._forward_ungated(self.crop(images, rectangle))

    def _forward_views(self, images: Tensor) -> tuple[Tensor, AttentionResult | None, Tensor | None, list[Tensor]]:
        """The whole images' map `(B, C, H, W)`, attention result and rectangle in their pixels, and each view's map as
        the head receives it."""
        features, result = self.forward_attention(self.shrink(images))
        rectangle = self.to_input(result, images.shape[2:])
        views = [features if result is None or self.attended_stage is not None else result.features]
        if self.second_look and rectangle is not None:
            if self.second_look == "unsure" and not self.training:
                crop = self._crop_features_if_unsure(images, rectangle, views[0])
            else:
                crop = self.crop_features(images, rectangle)
            views = [crop] if self.second_look == "only" else [*views, crop]
        return features, result, rectangle, views

    def _crop_features_if_unsure(self, images: Tensor, rectangle: Tensor, whole: Tensor) -> Tensor:
        """The crops' map, or again the `whole` image's for those that the head is sure of, so that both have a mean."""
        unsure = self.forward_head(whole).float().softmax(dim=1).amax(dim=1) < self.second_look_below
        if torch.compiler.is_compiling():  # an exported network computes all crops: it cannot skip a part of a batch
            return torch.where(unsure[:, None, None, None], self.crop_features(images, rectangle), whole)
        maps = whole.clone()
        if unsure.any():
            maps[unsure] = self.crop_features(images[unsure], rectangle[unsure]).to(maps.dtype)
        return maps

    # ---- backbone, attention and head of one view

    def forward_attention(self, images: Tensor) -> tuple[Tensor, AttentionResult | None]:
        """The last map `(B, C, H, W)` of images, and the result of attention on it or on its stage."""
        features, stages = self.maps(images)
        stage = self.attended_stage
        return features, self.attend(features, stages) if stage is None else stage.take()[1]

    def maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last map `(B, C, H, W)` of images, and those of the stages that the rectangle is predicted from, earlier
        first; the list is empty if it is predicted from the gated map."""
        if not self.predictor_stages:
            return self.forward_features(images), []
        features, stages = self.backbone.forward_intermediates(images, indices=self.predictor_stages)
        return self.layout.to_map(features, images.shape[2:]), stages

    def evidence(self, images: Tensor) -> list[Tensor]:
        """The maps that the rectangle is predicted from; it is in cells of the last one."""
        features, stages = self.maps(images)
        stage = self.attended_stage
        return stages or [features if stage is None else stage.take()[0]]

    def forward_features(self, images: Tensor) -> Tensor:
        """The backbone's features as a map, always channels first: `(B, C, H, W)`."""
        return self.layout.to_map(self.backbone.forward_features(images), images.shape[2:])

    def attend(self, features: Tensor, stages: Sequence[Tensor] = ()) -> AttentionResult | None:
        """The result of attention on the last map `(B, C, H, W)` and those of `maps`' stages; None without attention,
        or if it gated an earlier stage already."""
        if self.attention is None:
            return None
        if isinstance(self.attention, ClassMapAttention):
            evidence = self.class_map(features, self.forward_head(features).argmax(dim=1))
            return cast(AttentionResult, self.attention(features, evidence))
        result: AttentionResult = (
            self.attention(features, stages) if self.predictor_stages else self.attention(features)
        )
        return result

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits, or the last layer's input, from a feature map `(B, C, H, W)`."""
        out: Tensor = self.backbone.forward_head(self.layout.to_features(features), pre_logits=pre_logits)
        return out

    @staticmethod
    def to_input(result: AttentionResult | None, size: Sequence[int]) -> Tensor | None:
        """The rectangle `(B, 5)` of an attention result in pixels of images of `size` (height, width)."""
        return None if result is None else geometry.rescale(result.rectangle, result.mask.shape[1:], size)

    def _forward_ungated(self, images: Tensor) -> Tensor:
        stage = self.attended_stage
        if stage is None:
            return self.forward_features(images)
        stage.attends = False
        try:
            return self.forward_features(images)
        finally:
            stage.attends = True

    def _output(
        self,
        features: Tensor,
        result: AttentionResult | None,
        rectangle: Tensor | None,
        view_logits: Tensor,
        outside: bool = False,
    ) -> AttentiveOutput:
        logits = view_logits.mean(dim=0)
        if result is None:
            return AttentiveOutput(logits, None, None, view_logits)
        rest = self._part_logits(features, result, inside=False) if outside else None
        return AttentiveOutput(logits, rectangle, result.mask, view_logits, rest)

    def _part_logits(self, features: Tensor, result: AttentionResult, inside: bool = True) -> Tensor:
        """Logits of what is inside, or outside, the mask alone, at the level of features that the head learned on."""
        mask = result.mask
        if mask.shape[1:] != features.shape[2:]:
            mask = F.interpolate(mask[:, None], size=features.shape[2:], mode="area")[:, 0]
        part = gate(features, mask if inside else 1 - mask)
        if result.level is not None and self.attended_stage is None:
            part = part * result.level[:, None, None, None].to(part.dtype)
        return self.forward_head(part)

    # ---- timm's interface

    def get_classifier(self) -> nn.Module:
        """The last layer; a list of both if the backbone has two, as distilled ones have."""
        layers: nn.Module | tuple[nn.Module, ...] = self.backbone.get_classifier()
        return nn.ModuleList(layers) if isinstance(layers, tuple) else layers

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by a new one for `num_classes`."""
        self.num_classes = num_classes
        self.backbone.reset_classifier(num_classes, global_pool)


def make_attention(
    name: str,
    predictor: str,
    channels: int,
    stage_channels: Sequence[int] = (),
    reach: str = "wide",
    gating: str | None = None,
) -> nn.Module | None:
    """The attention module of that name for maps of so many channels; None for `none`. The other arguments are
    RSAM's."""
    if name == "rsam":
        return RSAM(channels, predictor, stage_channels, gating, reach)
    if name == "class_map":
        return ClassMapAttention()
    return {"positionwise": PositionwiseAttention, "conv_map": MapAttention}[name](channels) if name != "none" else None


import rsam_app.model.registry  # noqa: E402, F401  (last: it needs the class, and timm may not have been imported yet)
