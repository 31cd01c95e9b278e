"""Pipelines: a card, a model, and how to train, evaluate, review and select."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rsam_app.config.training import TrainConfig
from rsam_app.config.validation import Strict


class ModelConfig(Strict):
    """A timm convnet and its attention."""

    backbone: str = "mobilenetv2_100"
    """Any timm convnet whose features are a map (`timm.list_models()`)."""
    backbone_args: dict[str, Any] = {}
    """Passed to the timm model, e.g. `drop_rate: 0.2`."""
    weights: str = "timm"
    """`timm` (from its hub), `none`, or a path to a `.safetensors` or `.pth` file."""
    attention: Literal["rsam", "positionwise", "conv_map", "none"] = "rsam"
    """RSAM, or a baseline: CBAM's spatial half, a plain 1 × 1 map, nothing."""
    predictor: Literal["profiles", "regression", "moments"] = "profiles"
    """How RSAM finds its rectangle: regression from profiles of the last two stages along both axes, or from the layout
    of the last map, or moments of a learned map."""
    gate: Literal["wide", "tight"] = "wide"
    """How far around the rectangle features count: `wide` for pretrained networks, whose cells see far, `tight` where
    the surroundings mislead."""
    stage: int = Field(-1, ge=-1)
    """What attention gates: the last feature map (-1), or what that stage, counted from 0, gives to the next one."""
    second_look: bool = False
    """Look again, by the same network, at a crop along the rectangle from twice the resolution: more accurate at twice
    the cost. A model trained so can be evaluated without it."""
    image_size: int = Field(224, ge=32, le=2048)
    """Side of the square that the network looks at, in pixels; images are resized to it whole."""

    @property
    def input_side(self) -> int:
        """Side of the square network input, in pixels: twice `image_size` where the network looks twice."""
        return 2 * self.image_size if self.second_look else self.image_size

    @model_validator(mode="after")
    def _a_second_look_needs_a_rectangle(self) -> Self:
        if self.second_look and self.attention == "none":
            raise ValueError("second_look crops along the rectangle, and attention: none has none")
        return self


class EvaluateConfig(Strict):
    """How to evaluate and predict."""

    split: Literal["train", "val", "test"] = "test"
    batch_size: int = Field(64, ge=1)
    robustness: bool = False
    """Measure stability, use, background gap and corruptions too: some fifty more looks at each chosen image."""
    robustness_images: int = Field(256, ge=1)
    """How many images of the split, chosen evenly over the classes, robustness is measured on."""
    stability_views: int = Field(2, ge=0, le=5)
    """How many further looks at each image `rsam predict` spends on the score `instability`; 0 for no such score."""


class ReviewConfig(Strict):
    """How to write into FiftyOne."""

    key: str | None = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """Prefix of this run's fields; the run's name where not given."""
    soft_masks: bool = False
    """`rsam predict` keeps each image's soft mask, a small image, and `rsam review` shows it as a heatmap."""


class SelectConfig(Strict):
    """Which images to label or relabel next."""

    strategy: str = "auto"
    budget: int = Field(100, ge=1)
    split: Literal["train", "val", "test", "unlabelled", "all"] = "train"
    tag: str = "relabel"
    per_class: int | None = Field(None, ge=1)
    """Most images of one predicted class."""
    near_duplicates: float | None = Field(None, gt=0, le=1)
    """Cosine similarity of embeddings, e.g. .95, from which on only one of two images is chosen."""


class Pipeline(Strict):
    """A card, a model, and how to train, evaluate, review and select. One `pipelines/NAME.yaml`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    dataset: str
    """A card's name, or a path to one."""
    seed: int = Field(0, ge=0)
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    review: ReviewConfig = ReviewConfig()
    select: SelectConfig = SelectConfig()

    @model_validator(mode="after")
    def _cached_views_are_of_use(self) -> Self:
        why = why_not_cached(self)
        if isinstance(self.train.cached_views, int) and self.train.cached_views and why:
            raise ValueError(f"train.cached_views keeps feature maps, and {why}; set it to 0 or auto")
        return self


def why_not_cached(pipeline: Pipeline) -> str:
    """Why feature maps of a frozen backbone would not do for this training; empty where they do."""
    if not pipeline.train.frozen_backbone:
        return "without train.frozen_backbone they change with every step"
    if pipeline.model.second_look:
        return "model.second_look crops from the images themselves"
    if pipeline.model.stage != -1 and pipeline.model.attention != "none":
        return "behind model.stage they change with the attention"
    if pipeline.train.mix.mixup or pipeline.train.mix.cutmix:
        return "train.mix mixes the images themselves"
    if pipeline.train.signals.equivariance and pipeline.model.attention == "rsam":
        return "train.signals.equivariance looks at new views of the images"
    return ""
