"""How a pipeline trains: optimisation, augmentation, mixing, signals."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rsam_app.config.validation import Strict


class AugmentConfig(Strict):
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


class MixConfig(Strict):
    """Mixup and CutMix. Mixed images are not used to teach rectangles: they show two objects."""

    mixup: float = Field(0.0, ge=0)
    """Both parameters of the Beta distribution that the share of an added image is drawn from; 0 for no mixup."""
    cutmix: float = Field(0.0, ge=0)
    """The same for the area of a pasted rectangle."""
    share: float = Field(0.5, ge=0, le=1)
    """How many of the batches are mixed."""
    off_epochs: int = Field(1, ge=0)
    """How many epochs at the end see images as they are."""


class SignalsConfig(Strict):
    """Weights of signals that teach a rectangle its place without a target; see `rsam_app/training/losses.py`."""

    equivariance: float = Field(0.0, ge=0)
    """The rectangle moves with the image; looks at a second view of each, so an epoch takes twice as long."""
    outside: float = Field(0.0, ge=0)
    """What lies outside must not suffice to classify."""
    area: float = Field(0.0, ge=0)
    """Area has a price."""
    border: float = Field(0.0, ge=0)
    """Corners stay inside the image."""


TrackerName = Literal["tensorboard", "wandb", "mlflow", "aim", "comet_ml", "clearml", "dvclive", "swanlab", "trackio"]


class TrainConfig(Strict):
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
