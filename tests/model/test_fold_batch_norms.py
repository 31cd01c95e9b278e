"""Batch norms merged into convolutions: the same answers, and the model itself where that cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rsam_app.config import ModelConfig
from rsam_app.model import AttentiveClassifier, build_model
from rsam_app.model.fold_batch_norms import fold_batch_norms


def network(name: str, side: int = 64, **settings: object) -> AttentiveClassifier:
    """A network whose batch norms have statistics, as training leaves them."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=name, weights="none", image_size=side, **settings), ("a", "b", "c"))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    ("name", "left", "settings"),
    [
        ("mobilenetv2_100", 0, {}),
        ("mobilenetv2_100", 0, {"second_look": "unsure"}),
        ("tf_efficientnet_lite0", 0, {}),  # pads its convolutions itself
        ("resnet18", 0, {}),
        ("resnet18", 0, {"stage": 2}),
        ("regnetx_002", 0, {}),
        ("ghostnet_100", 0, {}),
        ("repvgg_a0", 17, {}),  # blocks with a batch norm and no convolution
        ("densenet121", 62, {}),  # batch norms of what several convolutions made
        ("resnetv2_50d_gn", 0, {}),  # group norms instead
        ("xception41p", 40, {}),  # batch norms before convolutions
    ],
)
def test_the_answers_stay_and_the_batch_norms_go(name: str, left: int, settings: dict[str, object]) -> None:
    model = network(name, **settings)
    folded = fold_batch_norms(model)
    assert norms(folded) == left
    assert (folded is model) == (norms(model) == left)
    images = torch.randn(3, *model.pretrained_cfg["input_size"])
    with torch.inference_mode():
        before, after = model.embed(images), folded.embed(images)
        for old, new in zip(*(one.maps(one.shrink(images))[1] for one in (model, folded)), strict=True):
            assert (new - old).abs().max() <= 1e-3 * old.abs().max()
    assert before[0].rectangle is not None and after[0].rectangle is not None
    for old, new in ((before[0].logits, after[0].logits), (before[1], after[1])):
        assert (new - old).abs().max() <= 1e-3 * old.abs().max()
    assert (after[0].rectangle - before[0].rectangle).abs().max() < 0.05


class Twice(nn.Module):
    """A convolution whose output is used beside its batch norm too, where no module shows it."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, nn.BatchNorm2d(convolution.out_channels).eval()
        nn.init.constant_(self.norm.weight, 3)

    def forward(self, images: Tensor) -> Tensor:
        made = self.convolution(images)
        return made + self.norm(made)


def test_a_model_that_would_answer_otherwise_is_left_alone() -> None:
    model = network("mobilenetv2_100")
    model.backbone.conv_stem = Twice(model.backbone.conv_stem)
    assert fold_batch_norms(model) is model
    assert norms(model) == 53


def test_a_batch_norm_behind_two_convolutions_is_merged_into_both_or_left_alone() -> None:
    model = network("resnet18")
    block = model.backbone.layer1[0]
    block.bn2 = block.bn1
    folded, images = fold_batch_norms(model), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert (folded(images) - model(images)).abs().max() <= 1e-3 * model(images).abs().max()


def test_a_batch_norm_that_measures_each_batch_is_kept() -> None:
    model = network("resnet18")
    model.backbone.bn1 = nn.BatchNorm2d(64, track_running_stats=False).eval()
    assert norms(fold_batch_norms(model)) == 1


def test_the_random_numbers_of_the_caller_stay() -> None:
    model = network("resnet18")
    state = torch.get_rng_state()
    fold_batch_norms(model)
    assert torch.equal(torch.get_rng_state(), state)
