"""`torch.compile` of models with attention: one graph, forward and backward, equal to eager.

The backend is `aot_eager`: graph breaks come from tracing, and this backend needs no C++ compiler.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from rsam_app.config import ModelConfig
from rsam_app.model import AttentiveClassifier, AttentiveOutput, build_model

ATTENTIONS = {
    "peaks": {"attention": "rsam", "predictor": "peaks"},
    "moments": {"attention": "rsam", "predictor": "moments"},
    "profiles": {"attention": "rsam", "predictor": "profiles"},
    "regression": {"attention": "rsam", "predictor": "regression"},
    "second_look": {"attention": "rsam", "second_look": True},
    "positionwise": {"attention": "positionwise"},
    "stage": {"attention": "rsam", "stage": 2},
}


@pytest.fixture(autouse=True)
def forget_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def model_with(attention: str, backbone: str = "test_resnet") -> AttentiveClassifier:
    torch.manual_seed(0)
    model = build_model(
        ModelConfig(backbone=backbone, weights="none", image_size=96, **ATTENTIONS[attention]), ("a", "b", "c")
    )
    with torch.no_grad():  # the initial state has zero gradients by design
        for parameter in model.attention_module.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def loss_of(output: AttentiveOutput) -> Tensor:
    return output.logits.float().square().sum() + 1e-3 * output.rectangle.square().mean() + output.mask.square().mean()


@pytest.mark.parametrize(
    ("attention", "backbone"), [*((a, "test_resnet") for a in ATTENTIONS), ("moments", "test_mambaout")]
)
def test_there_are_no_graph_breaks(attention, backbone):
    explained = torch._dynamo.explain(model_with(attention, backbone))(torch.randn(2, 3, 96, 96), return_output=True)
    assert (explained.graph_break_count, explained.graph_count) == (0, 1), explained.break_reasons


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_one_graph_equals_eager_forward_and_backward(attention):
    eager = model_with(attention).double()  # rounding of another order of sums is far below the tolerance
    other = copy.deepcopy(eager)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    images = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    expected, given = eager(images, return_output=True), compiled(images, return_output=True)
    for name in ("logits", "rectangle", "mask"):
        torch.testing.assert_close(getattr(given, name), getattr(expected, name))
    loss_of(expected).backward()
    loss_of(given).backward()
    for (name, ours), theirs in zip(eager.named_parameters(), other.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(theirs.grad, ours.grad, msg=lambda text, name=name: f"{name}: {text}")
    assert all(p.grad.any() for p in eager.attention_module.parameters())


def test_one_graph_under_autocast_keeps_rectangles_in_float32():
    model = model_with("moments")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        output = compiled(torch.randn(2, 3, 96, 96), return_output=True)
    assert output.rectangle.dtype == output.mask.dtype == torch.float32
    loss_of(output).backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in model.attention_module.parameters())


def test_one_graph_serves_any_number_of_images():
    model = model_with("moments").eval()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.no_grad():
        for count in (2, 3, 7):
            images = torch.randn(count, 3, 96, 96)
            torch.testing.assert_close(compiled(images, return_output=True).rectangle, model(images, True).rectangle)
