"""Registration of one picture on another to a fraction of a pixel, at any brightness; and likeness."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from rsam_app.data.near_duplicates.comparison import likeness, register, sample_at


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """Return smooth random pictures `(N, 1, 64, 64)`, grey levels."""
    rng = np.random.default_rng(seed)
    made = np.zeros((count, 64, 64))
    for cells in (4, 8, 16, 24):
        for number in range(count):
            noise = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
            made[number] += np.asarray(noise.resize((64, 64), Image.Resampling.BICUBIC), dtype=float) / 4
    return torch.from_numpy(made).float()[:, None]


def test_a_known_placement_is_recovered() -> None:
    shown = pictures(30)
    chooser = torch.Generator().manual_seed(0)
    true = torch.tensor([0.95, 0.0, 0.95, 0.0]) + (torch.rand((30, 4), generator=chooser) - 0.5) * 0.06
    other, inside = sample_at(shown, true)
    assert inside.min() == 1
    found = register(shown, 0.7 * other + 20, torch.tensor([[0.95, 0, 0.95, 0]]).expand(30, 4), 12)
    assert (found - true).abs().max() < 0.004, "an eighth of a pixel"


def test_likeness_tells_the_same_picture_from_another_and_from_a_changed_part() -> None:
    shown, others = pictures(12)[:, 0], pictures(12, seed=1)[:, 0]
    whole = torch.tensor([[1.0, 0, 1, 0]]).expand(12, 4)
    assert (likeness(shown, 0.8 * shown + 30, whole) > 0.99).all()
    assert (likeness(shown, others, whole) == 0).all()
    changed = shown.clone()
    changed[:, 20:32, 36:48] = others[:, 20:32, 36:48]
    assert (likeness(shown, changed, whole) == 0).all()
    assert (likeness(shown, shown.flip(-1), whole) == 0).all(), "the caller flips mirrored images back"
    assert (likeness(shown, shown[:, :, :40].repeat_interleave(2, dim=2)[:, :, 8:72], whole) == 0).all()
    assert likeness(shown[:0], shown[:0], whole[:0]).shape == (0,)


def test_pictures_without_detail_are_alike_to_none() -> None:
    flat = torch.full((2, 64, 64), 90.0)
    assert (likeness(flat, flat, torch.tensor([[1.0, 0, 1, 0]]).expand(2, 4)) == 0).all()
