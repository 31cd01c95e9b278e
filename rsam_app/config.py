"""Typed cards and pipelines: what their keys mean, how a file and `--set` overrides become one, and what is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rsam_app.errors import UserError
from rsam_app.validation import YAML_ERRORS, read_mapping, suggest, validate

REPOSITORY = Path(__file__).resolve().parent.parent


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, protected_namespaces=())


class Download(_Strict):
    """One file of a release: where it is, how it is known to be the right one, what of it belongs in the root."""

    url: str = Field("", pattern=r"^(https?://\S+)?$")
    """Its official address; without one, a person puts the file where `rsam download` says."""
    page: str = ""
    """Where a person finds the file."""
    file: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$")
    """Its name; the last part of `url` where not given."""
    size: int | None = Field(None, ge=0)
    """Bytes."""
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    md5: str = Field("", pattern=r"^([0-9a-f]{32})?$")
    take: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$")
    """The folder of the archive whose content goes into the card's root; the whole archive where not given."""

    @property
    def name(self) -> str:
        """What the file is called on disk."""
        return self.file or self.url.partition("?")[0].rpartition("/")[2]

    @model_validator(mode="after")
    def _can_be_had_and_stored(self) -> Self:
        if not self.url and not self.page:
            raise ValueError("needs `url`, or `page` and `file` for what a person must fetch")
        if not self.name.strip("."):
            raise ValueError("needs `file`: the name to store it under")
        return self


class Card(_Strict):
    """A data set: where it is, how it is laid out, under which licence. One `datasets/NAME.yaml`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    layout: Literal[
        "folder",
        "manifest",
        "huggingface",
        "cub_200_2011",
        "fgvc_aircraft",
        "food_101",
        "inaturalist",
        "nabirds",
        "oxford_flowers_102",
        "oxford_iiit_pet",
        "stanford_cars",
        "stanford_dogs",
    ]
    root: str
    """Folder (or CSV for `manifest`); a relative one starts from RSAM_DATA."""
    licence: str
    splits: dict[Literal["train", "val", "test"], str] = {"train": "train", "val": "val", "test": "test"}
    """Our split → the release's name for it. Without `val` a stratified tenth of `train` is held out."""
    max_broken_share: float = Field(0.02, ge=0, le=1)
    """More unreadable images than this share is an error instead of a warning."""
    options: dict[str, str] = {}
    """What the layout can be told, e.g. `level: family`; README says which layout knows which."""
    download: list[Download] = []
    """What `rsam download` fetches and unpacks into the root."""

    @property
    def root_path(self) -> Path:
        """The root, absolute or starting from `RSAM_DATA` (default `data/`)."""
        return Path(os.environ.get("RSAM_DATA") or "data").expanduser() / Path(self.root).expanduser()

    @field_validator("splits")
    @classmethod
    def _one_split_each(cls, value: dict[str, str]) -> dict[str, str]:
        if "train" not in value:
            raise ValueError("must say which split to train on, e.g. `train: train`")
        if len(set(value.values())) < len(value):
            raise ValueError("must not use one split of the release twice: training images would be tested on")
        return value


class ModelConfig(_Strict):
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


class AugmentConfig(_Strict):
    """Training augmentation; geometry carries rectangles along. A pipeline may also give a preset's name, or a list of
    albumentations, which is then all that happens."""

    min_scale: float = Field(0.4, gt=0, le=1)
    """Smallest share of the image's area that a random crop keeps."""
    flip: bool = True
    """Mirror left and right half of the time."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Largest rotation either way, degrees."""
    color: float = Field(0.3, ge=0, le=1)
    """Strength of brightness, contrast and saturation changes."""
    extra: list[dict[str, dict[str, Any] | None]] = []
    """Further albumentations by name, applied in order before the crop: `- GaussianBlur: {p: 0.2}`."""
    transforms: list[dict[str, dict[str, Any] | None]] | None = None
    """Albumentations instead of all of the above; what they give is resized to the network's input."""

    @model_validator(mode="after")
    def _transforms_stand_alone(self) -> Self:
        others = [name for name in type(self).model_fields if name != "transforms"]
        changed = [name for name in others if getattr(self, name) != type(self).model_fields[name].default]
        if self.transforms is not None and changed:
            raise ValueError(f"transforms say all that happens, and {', '.join(changed)} would have no effect")
        return self


AUGMENT_PRESETS: dict[str, dict[str, Any]] = {
    "none": {"transforms": []},
    "light": {"min_scale": 0.7, "color": 0.1},
    "standard": {},
    "strong": {"min_scale": 0.25, "rotate": 15.0, "color": 0.5},
}
"""What `train.augment` may be called by name: images whole as they are, little, as by default, much."""


class MixConfig(_Strict):
    """Mixup and CutMix. Mixed images are not used to teach rectangles: they show two objects."""

    mixup: float = Field(0.0, ge=0)
    """Both parameters of the Beta distribution that the share of an added image is drawn from; 0 for no mixup."""
    cutmix: float = Field(0.0, ge=0)
    """The same for the area of a pasted rectangle."""
    share: float = Field(0.5, ge=0, le=1)
    """How many of the batches are mixed."""
    off_epochs: int = Field(1, ge=0)
    """How many epochs at the end see images as they are."""


class SignalsConfig(_Strict):
    """Weights of signals that teach a rectangle its place without a target; see `rsam_app/training/signals.py`."""

    equivariance: float = Field(0.0, ge=0)
    """The rectangle moves with the image; looks at a second view of each, so an epoch takes twice as long."""
    outside: float = Field(0.0, ge=0)
    """What lies outside must not suffice to classify."""
    area: float = Field(0.0, ge=0)
    """Area has a price."""
    border: float = Field(0.0, ge=0)
    """Corners stay inside the image."""


TrackerName = Literal["tensorboard", "wandb", "mlflow", "aim", "comet_ml", "clearml", "dvclive", "swanlab", "trackio"]


class TrainConfig(_Strict):
    """How to train."""

    epochs: int = Field(12, ge=1)
    batch_size: int = Field(32, ge=1)
    """Over all processes together, so that a run does not depend on their number."""
    accumulate: int = Field(1, ge=1)
    """Parts that a batch is cut into to fit the memory; the update is the same but for batch-norm statistics."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """`sgd` is with Nesterov momentum .9, and wants a learning rate some thirty times as high."""
    learning_rate: float = Field(3e-4, gt=0)
    """Of the backbone, at its peak."""
    head_learning_rate: float | None = Field(None, gt=0)
    """Of the classifier; where not given, three times `learning_rate` if it was fitted to pretrained features before,
    else ten times."""
    attention_learning_rate: float = Field(3e-3, gt=0)
    """Of the attention module."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Each group of the backbone's layers learns this much slower than the one above it."""
    head_epochs: float = Field(0.0, ge=0)
    """For so many epochs attention and classifier learn alone, then the backbone's own warm-up begins."""
    weight_decay: float = Field(0.05, ge=0)
    attention_weight_decay: float = Field(0.5, ge=0)
    """Of what predicts RSAM's rectangle."""
    warmup_epochs: float = Field(1.0, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: an image of a rare class counts more in the loss, so that all classes count alike."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """`balanced`: an epoch draws all classes alike, with repetition; `uniform`: every image once."""
    mix: MixConfig = MixConfig()
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of a moving average of the weights, warmed up, e.g. .999; the better of both is kept."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many epochs without a better one."""
    best_by: Literal["top1", "macro_top1", "nll"] = "top1"
    """What says on `val` which epoch is the best."""
    clip_norm: float | None = Field(5.0, gt=0)
    """Largest gradient norm; `null` for no limit."""
    frozen_backbone: bool = False
    """Train attention and classifier alone, an epoch in seconds: the backbone looks once at `cached_views` views of
    each image."""
    cached_views: int | Literal["auto"] = "auto"
    """With a frozen backbone, how many augmented views of each training image are kept as feature maps on disk, beside
    the whole one; 0: new views in every epoch. `auto`: 4, or 0 where what is trained needs the images themselves."""
    freeze_batch_norm: bool | Literal["auto"] = "auto"
    """Keep batch-norm statistics as loaded; `auto`: with pretrained weights."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the processor or accelerator computes in it, else float32."""
    compile: bool = False
    """Let `torch.compile` make kernels for this model: minutes at the start, and a C++ compiler is needed."""
    gradient_checkpointing: bool = False
    """Compute the backbone's activations twice instead of keeping them: less memory, a third more time."""
    discover_objects: bool | Literal["auto"] = "auto"
    """Teach RSAM where the object is without boxes, from the backbone's own features: before training where they are
    pretrained, else when a third of the epochs is over. `auto`: wherever something can learn from it."""
    target_weight: float = Field(1.0, ge=0)
    """Weight of the loss that draws rectangles to their targets (discovered, or corrected by a person)."""
    signals: SignalsConfig = SignalsConfig()
    augment: AugmentConfig = AugmentConfig()
    workers: int | Literal["auto"] = "auto"
    """Data loading processes per training process."""
    trackers: list[TrackerName] = ["tensorboard"]
    """Where curves go, through Accelerate; `tensorboard` writes into the run folder. `[]` for nowhere."""

    @model_validator(mode="after")
    def _phases_fit_in(self) -> Self:
        if self.head_epochs >= self.epochs:
            raise ValueError(f"head_epochs ({self.head_epochs:g}) leaves the backbone none of {self.epochs} epochs")
        return self

    @field_validator("augment", mode="before")
    @classmethod
    def _by_name_or_list(cls, value: object) -> object:
        if isinstance(value, list):
            for place, entry in enumerate(value):
                if not isinstance(entry, dict) or not all(isinstance(v, dict | None) for v in entry.values()):
                    raise ValueError(f"entry {place} of the list, {entry!r}, is not `- Name: {{argument: value}}`")
            return {"transforms": value}
        if isinstance(value, str):
            if value not in AUGMENT_PRESETS:
                raise ValueError(f"is no preset; give one of {', '.join(AUGMENT_PRESETS)}, keys, or a list")
            return AUGMENT_PRESETS[value]
        return value

    @field_validator("workers", "cached_views")
    @classmethod
    def _not_negative(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 0:
            raise ValueError("must not be negative")
        return value


class EvaluateConfig(_Strict):
    """How to evaluate and predict."""

    split: Literal["train", "val", "test"] = "test"
    batch_size: int = Field(64, ge=1)
    robustness: bool = False
    """Measure stability, use, background gap and corruptions too: some fifty more looks at each chosen image."""
    robustness_images: int = Field(256, ge=1)
    """How many images of the split, chosen evenly over the classes, robustness is measured on."""
    stability_views: int = Field(2, ge=0, le=5)
    """How many further looks at each image `rsam predict` spends on the score `instability`; 0 for no such score."""


class ReviewConfig(_Strict):
    """How to write into FiftyOne."""

    key: str | None = Field(None, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """Prefix of this run's fields; the run's name where not given."""
    soft_masks: bool = False
    """`rsam predict` keeps each image's soft mask, a small image, and `rsam review` shows it as a heatmap."""


class SelectConfig(_Strict):
    """Which images to label or relabel next."""

    strategy: str = "auto"
    budget: int = Field(100, ge=1)
    split: Literal["train", "val", "test", "all"] = "train"
    tag: str = "relabel"
    per_class: int | None = Field(None, ge=1)
    """Most images of one predicted class."""
    near_duplicates: float | None = Field(None, gt=0, le=1)
    """Cosine similarity of embeddings, e.g. .95, from which on only one of two images is chosen."""


class Pipeline(_Strict):
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


def load_pipeline(reference: str | Path, overrides: list[str] | None = None) -> Pipeline:
    """The pipeline at a path, or of that name in `pipelines/`, with `key.sub=value` overrides applied.

    Raises `UserError` that names file, key, value and remedy.
    """
    path = _find(str(reference), "pipelines")
    content = read_mapping(path)
    content.setdefault("name", path.stem)
    for override in overrides or []:
        _override(content, override)
    pipeline = validate(Pipeline, content, path)
    _check_transforms(pipeline, path)
    return pipeline.model_copy(update={"dataset": str(_find(pipeline.dataset, "datasets", near=path))})


def overridden(pipeline: Pipeline, overrides: list[str], path: Path) -> Pipeline:
    """`pipeline`, which stands in `path`, with `key.sub=value` overrides applied. Raises `UserError`."""
    content = pipeline.model_dump(mode="json")
    for override in overrides:
        _override(content, override)
    changed = validate(Pipeline, content, path)
    _check_transforms(changed, path)
    return changed


def _check_transforms(pipeline: Pipeline, path: Path) -> None:
    """Try the albumentations that a pipeline names, if any: importing them takes seconds."""
    augment = pipeline.train.augment
    for key in ("extra", "transforms"):
        if getattr(augment, key):
            from rsam_app.data.transforms import NamedTransforms

            try:
                NamedTransforms(getattr(augment, key), f"train.augment.{key}")
            except UserError as error:
                raise UserError(f"{path}: {error}") from error


def load_card(reference: str | Path) -> Card:
    """The card at a path, or of that name in `datasets/`. Raises `UserError` that names file, key, value and remedy."""
    path = _find(str(reference), "datasets")
    return validate(Card, read_mapping(path), path)


def read_pipeline(path: Path) -> Pipeline:
    """The pipeline in a file that is complete as it is, such as a run's `config.yaml`. Raises `UserError` as above."""
    return validate(Pipeline, read_mapping(path), path)


def _find(reference: str, folder: str, near: Path | None = None) -> Path:
    direct = Path(reference).expanduser()
    if direct.suffix in (".yaml", ".yml"):
        around = [direct, near.parent / direct] if near else [direct]
        candidates = [*around, REPOSITORY / direct]
    else:
        folders = [Path(folder), REPOSITORY / folder]
        if near:
            folders.insert(0, near.resolve().parent.parent / folder)
        candidates = [f / f"{reference}.yaml" for f in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    known = sorted({p.stem for f in {c.parent for c in candidates} if f.is_dir() for p in f.glob("*.yaml")})
    where = f"{near}: dataset: " if near else ""
    remedy = suggest(reference, known)
    raise UserError(f"{where}{reference}: no such file, and nothing of that name in {folder}/.{remedy}")


def _override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: expected key.sub=value, e.g. --set train.epochs=3")
    *parents, last = key.split(".")
    for parent in parents:
        inner = content.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {override}: {parent} is a value and has no keys below it.")
        content = inner
    try:
        content[last] = yaml.safe_load(text)
    except YAML_ERRORS as error:
        raise UserError(f"--set {override}: {text!r} is not a YAML value. Put quotes around a text.") from error
