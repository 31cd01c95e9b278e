"""Which part of one thumbnail another one shows: found to a fraction of a pixel, for many pairs at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_LONGEST_STEP = 0.08
_DAMPING, _LEAST_GAIN = 1e-3, 0.2


def register(shown: Tensor, other: Tensor, place: Tensor, rounds: int) -> Tensor:
    """The places `(B, 4)` of `other` in `shown` (both `(B, 1, S, S)`, any brightness), going out from `place`.

    A place is `width, cx, height, cy` in units of half a side, the centre of `shown` at 0: `1, 0, 1, 0` is all of it,
    and `x` of `other` lies at `width · x + cx`. Gauss-Newton on place, gain and offset together (Lucas & Kanade 1981,
    with the lighting of Evangelidis & Psarakis, TPAMI 2008); it finds its way from about a pixel off, so call it on
    small copies first.
    """
    shown, other = blurred(shown), blurred(other)
    with_slopes = torch.cat([shown, *_slopes(shown)], dim=1)
    for _ in range(rounds):
        place = place + _step(with_slopes, other, place)
    return place


def taken_at(shown: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """`shown` `(B, C, S, S)` as it is at `place` `(B, 4)`, `(B, C, S, S)`, and where that lies inside of it
    `(B, 1, S, S)`, 0 or 1."""
    at = _grid(place, shown.shape[-1])
    inside = (at.abs() <= 1).all(dim=-1)[:, None].float()
    taken = functional.grid_sample(shown, at, padding_mode="border", align_corners=False)
    return taken, inside


def blurred(image: Tensor, times: int = 1) -> Tensor:
    """`image` `(B, 1, H, W)` through a binomial filter five pixels wide, again and again."""
    kernel = image.new_tensor(_KERNEL)
    for _ in range(times):
        image = functional.conv2d(functional.pad(image, (2, 2, 0, 0), mode="replicate"), kernel.view(1, 1, 1, 5))
        image = functional.conv2d(functional.pad(image, (0, 0, 2, 2), mode="replicate"), kernel.view(1, 1, 5, 1))
    return image


def _step(with_slopes: Tensor, other: Tensor, place: Tensor) -> Tensor:
    taken, inside = taken_at(with_slopes, place)
    values, across, down = taken.unbind(dim=1)
    x = _centres(other.shape[-1], other)[None, None, :]
    y = x.transpose(1, 2)
    columns = torch.stack([values, torch.ones_like(values), across * x, across, down * y, down], dim=-1)
    columns = columns.flatten(1, 2)
    weighted = (columns * inside.flatten(1)[..., None]).transpose(1, 2)
    normal = weighted @ columns
    damping = _DAMPING + 1e-4 * normal.diagonal(dim1=1, dim2=2)
    solved = torch.linalg.solve(normal + damping.diag_embed(), weighted @ other.flatten(1)[..., None])[..., 0]
    moved: Tensor = solved[:, 2:] / solved[:, :1].clamp(min=_LEAST_GAIN)
    return moved.nan_to_num(0.0).clamp(-_LONGEST_STEP, _LONGEST_STEP)


def _grid(place: Tensor, side: int) -> Tensor:
    centres = _centres(side, place)
    x = place[:, 0, None] * centres + place[:, 1, None]
    y = place[:, 2, None] * centres + place[:, 3, None]
    return torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)


def _centres(side: int, like: Tensor) -> Tensor:
    return (torch.arange(side, device=like.device) + 0.5) * 2 / side - 1


def _slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """How fast `image` changes across and down, per half a side."""
    per = image.shape[-1] / 4
    wide = functional.pad(image, (1, 1, 0, 0), mode="replicate")
    tall = functional.pad(image, (0, 0, 1, 1), mode="replicate")
    return (wide[..., 2:] - wide[..., :-2]) * per, (tall[..., 2:, :] - tall[..., :-2, :]) * per
