"""Pipelines: a card, a model, and how to train, evaluate, review and select."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rsam_app.config.training import TrainConfig
from rsam_app.config.validation import Strict

RESERVED_ARGS = {
    "checkpoint_path": "give the file as model.weights",
    "pretrained": "choose with model.weights: timm or none",
    "pretrained_cfg": "give weights as model.weights",
    "num_classes": "the dataset sets it; remove it",
    "in_chans": "images have three channels; remove it",
    "features_only": "the classifier needs the backbone's head; remove it",
    "out_indices": "the classifier needs the whole backbone; use model.stage to gate an earlier map",
}
"""timm's arguments that `backbone_args` must not contain, and what to do instead."""

WEIGHTS_IN_OVERLAY = ("custom_load", "file", "hf_hub_filename", "hf_hub_id", "source", "state_dict", "url")
"""Keys of timm's `pretrained_cfg_overlay` that say where weights come from."""


SOURCES = {"local-dir": "local-dir", "hf-hub": "hf-hub", "hf_hub": "hf-hub"}
"""timm's prefixes of the names of saved models, also the older one, as timm writes them now."""


def split_source(backbone: str) -> tuple[str, str]:
    """The source of a saved model, `local-dir` or `hf-hub`, and its name there; `""` and timm's own name."""
    prefix, _, name = backbone.partition(":")
    source = SOURCES.get(prefix.lower(), "")
    return (source, name) if source and name else ("", backbone)


def with_one_side(backbone_args: dict[str, Any]) -> dict[str, Any]:
    """A network's arguments with its `img_size` as one number, as timm takes it beside a pair. Raises `ValueError` if
    the sides differ: images are square."""
    size = backbone_args.get("img_size")
    if not isinstance(size, list | tuple):
        return backbone_args
    if len(set(size)) != 1:
        raise ValueError(f"img_size is {list(size)}, but images are square; give one number")
    return {**backbone_args, "img_size": size[0]}


CROPPING = (True, "only", "unsure")
"""The values of `model.second_look` with which crops are classified."""


class ModelConfig(Strict):
    """A timm network and its attention."""

    backbone: str = "mobilenetv2_100"
    """Any timm network with a feature map or a grid of patch tokens (`timm.list_models()`); or a saved timm model, by
    `local-dir:FOLDER` or `hf-hub:ORGANISATION/NAME[@REVISION]`, with its own weights."""
    backbone_args: dict[str, Any] = {}
    """Passed to the timm model, e.g. `drop_rate: 0.2`; `img_size` builds a transformer for another `image_size`."""
    weights: str = "timm"
    """`timm`, `none`, or a path to a `.safetensors` or `.pth` file. `timm` loads those of a saved model, else
    `BACKBONE.safetensors` from the folder RSAM_WEIGHTS if it is there, else from timm's hub. A file may be a checkpoint
    of another program or a run's `model/model.safetensors`; it must hold all of the backbone's tensors, the
    classifier's aside."""
    attention: Literal["rsam", "positionwise", "conv_map", "class_map", "none"] = "rsam"
    """RSAM, or a baseline: CBAM's spatial half, a plain 1 × 1 map, none. `class_map` gates nothing: its rectangle is
    that of the predicted class's map, for models that others trained."""
    predictor: Literal["peaks", "profiles", "regression", "moments"] = "peaks"
    """How RSAM predicts its rectangle: around peaks of maps learned from the last two stages, by regression from
    profiles of both along both axes, by regression from the layout of the last map, or by moments of a learned map."""
    gate: Literal["wide", "tight", "published"] = "wide"
    """How far around the rectangle features count: `wide` for pretrained networks with large receptive fields, `tight`
    if the surroundings mislead. `published`: features times the rectangle's own mask, as in the paper; with `predictor:
    regression` it is the paper's setting."""
    stage: int = Field(-1, ge=-1)
    """The feature map that attention gates: the last one (-1), or the output of this stage, counted from 0."""
    second_look: bool | Literal["auto", "only", "unsure"] = "auto"
    """Classify a crop along the rectangle too, at twice the resolution and by the same network: more accurate at twice
    the cost. A model trained with it can be evaluated without. `unsure`: trained alike, but classify the crop only if
    the whole image leaves the network unsure, as a third of the validation images do. `only`: classify the crop alone,
    so that what is around the object cannot mislead. `auto`: chosen on held-out images before training, between
    `unsure` and false, and once a reviewer has answered about rectangles, true and `only` as well. It is false without
    pretrained weights or objects to crop along, and with attention other than `rsam` on the last map. A trained model
    keeps what it was trained with."""
    image_size: int = Field(224, ge=32, le=2048)
    """Side of the network's square input, in pixels; whole images are resized to it."""

    @property
    def input_side(self) -> int:
        """Side of the square that images are loaded at, in pixels: twice `image_size` with a second look."""
        return 2 * self.image_size if self.second_look in CROPPING else self.image_size

    @property
    def weights_file(self) -> Path | None:
        """The local file of the backbone's weights, which need not exist; None for timm's hub, for those of a saved
        model, and without weights."""
        if self.weights == "none":
            return None
        if self.weights != "timm":
            return Path(os.path.expanduser(self.weights))
        if split_source(self.backbone)[0]:
            return None
        folder = os.environ.get("RSAM_WEIGHTS")
        file = Path(os.path.expanduser(folder or ".")) / f"{self.backbone.partition('.')[0]}.safetensors"
        return file if folder and file.is_file() else None

    @field_validator("backbone_args")
    @classmethod
    def _leaves_the_network_whole(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if key in RESERVED_ARGS:
                raise ValueError(f"{key}: {RESERVED_ARGS[key]}")
        if weights := sorted({*value.get("pretrained_cfg_overlay", {})} & {*WEIGHTS_IN_OVERLAY}):
            raise ValueError(f"pretrained_cfg_overlay: {weights[0]}: give weights as model.weights")
        if "global_pool" in value and not value["global_pool"]:
            raise ValueError("global_pool: the classifier needs pooled features; give avg or max, or remove it")
        return with_one_side(value)

    @model_validator(mode="after")
    def _second_look_needs_a_rectangle(self) -> Self:
        if self.second_look in CROPPING and self.attention == "none":
            raise ValueError("second_look crops along the rectangle, but attention: none has none")
        return self


class EvaluateConfig(Strict):
    """How to evaluate and predict."""

    split: Literal["train", "val", "test"] = "test"
    """`test` means `val` if the dataset has no test split."""
    batch_size: int = Field(64, ge=1)
    """Images per forward pass."""
    robustness: bool = False
    """Measure stability, use, background gap and corruptions too: about fifty more forward passes per chosen image."""
    robustness_images: int = Field(256, ge=1)
    """Images of the split to measure robustness on, chosen evenly over the classes."""
    stability_views: int = Field(2, ge=0, le=5)
    """Further views of each image that `rsam predict` computes the score `instability` from; 0: no such score."""
    sure_accuracy: float = Field(0.95, gt=0.5, lt=1)
    """Share of right answers to keep when an unsure answer is rolled up the card's `taxonomy`, on validation images."""


class ReviewConfig(Strict):
    """How to write into FiftyOne."""

    key: str | None = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """Prefix of this run's fields; default: the run's name."""
    into: str | None = None
    """Your FiftyOne dataset to review in; default: one that RSAM creates, with the card's name. See
    docs/own-dataset.md."""
    soft_masks: bool = False
    """`rsam predict` stores each image's soft mask as a small image, and `rsam review` shows it as a heatmap."""
    all_panels: bool = False
    """`rsam review` also evaluates rectangles against true boxes in FiftyOne, and computes its uniqueness, some 5 ms an
    image, and a map by UMAP if umap-learn is installed."""
    text_model: str | None = None
    """CLIP or SigLIP model by which images are found by text in the App: a folder that transformers saved, or a name on
    the hub. Needs the package transformers."""


class SelectConfig(Strict):
    """How to choose the images to label or relabel next."""

    strategy: str = "auto"
    """The selection strategy; docs/selection.md lists them."""
    budget: int = Field(100, ge=1)
    """Number of images to choose."""
    split: Literal["train", "val", "test", "unlabelled", "all"] = "train"
    """The images to choose from."""
    tag: str = "relabel"
    """Tag of the chosen images in FiftyOne."""
    per_class: int | None = Field(None, ge=1)
    """Maximum number of images of one predicted class."""
    near_duplicates: float | None = Field(None, gt=0, le=1)
    """Choose only one of two images if the cosine similarity of their embeddings reaches this, e.g. .95."""


class Pipeline(Strict):
    """A card, a model, and how to train, evaluate, review and select. One `pipelines/NAME.yaml`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the pipeline and of its runs; default: the file's name."""
    dataset: str
    """A card's name, or a path to one."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of all random choices: held-out images, initial weights, order and views of images, selection."""
    model: ModelConfig = ModelConfig()
    """The backbone and its attention."""
    train: TrainConfig = TrainConfig()
    """How to train."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """How to evaluate and predict."""
    review: ReviewConfig = ReviewConfig()
    """How to write into FiftyOne."""
    select: SelectConfig = SelectConfig()
    """How to choose the images to label or relabel next."""

    @model_validator(mode="after")
    def _cached_views_apply(self) -> Self:
        why = why_not_cached(self)
        if isinstance(self.train.cached_views, int) and self.train.cached_views and why:
            raise ValueError(f"train.cached_views caches feature maps, but {why}; set it to 0 or auto")
        return self


def why_not_cached(pipeline: Pipeline) -> str:
    """Why this training cannot use cached feature maps of a frozen backbone; empty if it can."""
    if not pipeline.train.frozen_backbone:
        return "without train.frozen_backbone they change at every step"
    if pipeline.model.stage != -1 and pipeline.model.attention != "none":
        return "after model.stage they change with the attention"
    if pipeline.train.mix.mixup or pipeline.train.mix.cutmix:
        return "train.mix mixes the images themselves"
    if pipeline.train.signals.equivariance and pipeline.model.attention == "rsam":
        return "train.signals.equivariance needs new views of the images"
    return ""
