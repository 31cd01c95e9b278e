"""The `train` section of a pipeline: optimisation, augmentation, mixing, signals."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rsam_app.config.validation import Strict


class AugmentConfig(Strict):
    """Training augmentation; rectangles follow the geometry. A pipeline may give a preset's name instead, or a list of
    albumentations that replaces everything here."""

    min_scale: float = Field(0.4, gt=0, le=1)
    """Minimum share of the image's area in a random crop."""
    flip: bool = True
    """Flip left and right with probability 1/2."""
    rotate: float = Field(0.0, ge=0, le=180)
    """Maximum rotation in either direction, degrees."""
    color: float = Field(0.3, ge=0, le=1)
    """Strength of brightness, contrast and saturation changes."""
    extra: list[dict[str, dict[str, Any] | None]] = []
    """Further albumentations by name, applied in order before the crop: `- GaussianBlur: {p: 0.2}`."""
    transforms: list[dict[str, dict[str, Any] | None]] | None = None
    """Albumentations instead of all of the above; their output is resized to the network's input."""

    @model_validator(mode="after")
    def _transforms_replace_the_rest(self) -> Self:
        others = [name for name in type(self).model_fields if name != "transforms"]
        changed = [name for name in others if getattr(self, name) != type(self).model_fields[name].default]
        if self.transforms is not None and changed:
            raise ValueError(f"transforms replace all other keys: {', '.join(changed)} would have no effect")
        return self


AUGMENT_PRESETS: dict[str, dict[str, Any]] = {
    "none": {"transforms": []},
    "light": {"min_scale": 0.7, "color": 0.1},
    "standard": {},
    "strong": {"min_scale": 0.25, "rotate": 15.0, "color": 0.5},
}
"""`train.augment` by name: whole images unchanged, little, the default, much."""


class MixConfig(Strict):
    """Mixup and CutMix. Mixed images do not supervise rectangles: they show two objects."""

    mixup: float = Field(0.0, ge=0)
    """Both parameters of the Beta distribution of the mixing share; 0: no mixup."""
    cutmix: float = Field(0.0, ge=0)
    """The same for the area of a pasted rectangle."""
    share: float = Field(0.5, ge=0, le=1)
    """Share of the batches that are mixed."""
    off_epochs: int = Field(1, ge=0)
    """Epochs at the end without mixing."""


class SignalsConfig(Strict):
    """Weights of the losses that teach rectangles without targets; see `rsam_app/training/losses.py`."""

    equivariance: float = Field(0.0, ge=0)
    """The rectangle moves with the image; needs a second view of each image, so an epoch takes twice as long."""
    outside: float = Field(0.0, ge=0)
    """The outside of the rectangle must not suffice to classify."""
    area: float = Field(0.0, ge=0)
    """Penalises the rectangle's area."""
    border: float = Field(0.0, ge=0)
    """The corners stay inside the image."""


TrackerName = Literal["tensorboard", "wandb", "mlflow", "aim", "comet_ml", "clearml", "dvclive", "swanlab", "trackio"]


class TrainConfig(Strict):
    """How to train."""

    epochs: int = Field(12, ge=1)
    """Passes over the training images."""
    batch_size: int = Field(32, ge=1)
    """Of all processes together, so that a run does not depend on their number."""
    accumulate: int = Field(1, ge=1)
    """Split each batch into this many parts to save memory; updates are the same except for batch-norm statistics."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """`sgd` has Nesterov momentum .9, and needs about thirty times the learning rate."""
    learning_rate: float = Field(3e-4, gt=0)
    """Peak learning rate of the backbone."""
    head_learning_rate: float | None = Field(None, gt=0)
    """Of the classifier; default: `learning_rate` times three if the classifier was fitted to pretrained features
    first, else times ten."""
    attention_learning_rate: float = Field(3e-3, gt=0)
    """Of the attention module."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Factor on the learning rate from each group of the backbone's layers to the group below it."""
    head_epochs: float = Field(0.0, ge=0)
    """Epochs in which only attention and classifier learn, before the backbone's own warm-up begins."""
    weight_decay: float = Field(0.05, ge=0)
    """Of all weights but biases, norms and the rectangle's predictor."""
    attention_weight_decay: float = Field(0.5, ge=0)
    """Of the predictor of RSAM's rectangle."""
    warmup_epochs: float = Field(1.0, ge=0)
    """Epochs in which the learning rate rises from zero to its peak."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of the target probability that is spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: images of rare classes get more weight in the loss, so that all classes weigh the same."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """`balanced`: an epoch draws all classes equally often, with repetition; `uniform`: every image once."""
    exchange_surroundings: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    """Share of the augmented views whose target rectangle's content is laid on another image, so that surroundings do
    not tell the class. `auto`: 1 if `model.second_look: auto` chose a crop because of a reviewer's answers, else 0."""
    mix: MixConfig = MixConfig()
    """Mixup and CutMix."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of a moving average of the weights, warmed up, e.g. .999; the better of both models is saved."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many epochs without improvement."""
    best_by: Literal["top1", "macro_top1", "nll"] = "top1"
    """The metric on `val` that chooses the best epoch."""
    clip_norm: float | None = Field(5.0, gt=0)
    """Maximum gradient norm; `null`: no limit."""
    frozen_backbone: bool = False
    """Train attention and classifier only, an epoch in seconds: the backbone runs once, on `cached_views` views of each
    image."""
    cached_views: int | Literal["auto"] = "auto"
    """With a frozen backbone, the number of augmented views per training image cached on disk as feature maps, beside
    the whole image; 0: new views in every epoch. `auto`: 4, or 0 if training needs the images themselves."""
    freeze_batch_norm: bool | Literal["auto"] = "auto"
    """Keep batch-norm statistics as loaded; `auto`: with pretrained weights."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 if the processor or accelerator supports it natively, else float32."""
    compile: bool = False
    """Compile the model with `torch.compile`: takes minutes at the start and needs a C++ compiler."""
    gradient_checkpointing: bool = False
    """Recompute the backbone's activations instead of storing them: less memory, a third more time."""
    discover_objects: bool | Literal["auto"] = "auto"
    """Teach RSAM where the object is without boxes, from the backbone's own features: before training if they are
    pretrained, else after a third of the epochs. `auto`: whenever the model can learn from it."""
    target_weight: float = Field(1.0, ge=0)
    """Weight of the loss between rectangles and their targets (discovered, or corrected by a reviewer)."""
    signals: SignalsConfig = SignalsConfig()
    """Weights of the losses that teach rectangles without targets."""
    augment: AugmentConfig = AugmentConfig()
    """Training augmentation: a preset's name (`none`, `light`, `standard`, `strong`), keys, or a list of
    albumentations."""
    workers: int | Literal["auto"] = "auto"
    """Data loading processes per training process."""
    trackers: list[TrackerName] = ["tensorboard"]
    """Trackers that get the curves, through Accelerate; `tensorboard` writes into the run folder. `[]`: none."""

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        if self.head_epochs >= self.epochs:
            raise ValueError(f"head_epochs ({self.head_epochs:g}) leaves the backbone none of {self.epochs} epochs")
        return self

    @field_validator("augment", mode="before")
    @classmethod
    def _by_name_or_list(cls, value: object) -> object:
        if isinstance(value, list):
            for index, entry in enumerate(value):
                if not isinstance(entry, dict) or not all(isinstance(v, dict | None) for v in entry.values()):
                    raise ValueError(f"entry {index} of the list, {entry!r}, is not `- Name: {{argument: value}}`")
            return {"transforms": value}
        if isinstance(value, str):
            if value not in AUGMENT_PRESETS:
                raise ValueError(f"is not a preset; give one of {', '.join(AUGMENT_PRESETS)}, or keys, or a list")
            return AUGMENT_PRESETS[value]
        return value

    @field_validator("workers", "cached_views")
    @classmethod
    def _not_negative(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 0:
            raise ValueError("must not be negative")
        return value
