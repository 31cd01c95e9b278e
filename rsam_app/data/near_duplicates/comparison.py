"""Compare two thumbnails: register one on the other, then require that their detail agrees everywhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rsam_app.data.near_duplicates.result import DETAIL

MIN_AGREEMENT = 0.4
"""Agreement required of each part: two shots of a fixed camera differ in a part."""
MIN_OVERLAP = 0.6
"""Minimum share of one image that the other shows."""
MAX_SCALE = 1.35
"""Maximum ratio of their sizes, along a side."""
_COARSE_ROUNDS, _FINE_ROUNDS = 5, 4
"""Rounds of registration at half the side and at full size."""
_PROMISING = 0.6
"""Correlation of detail at half the side below which a pair is rejected early."""
_NOISE = 1.0
"""Change of grey levels by recompression alone; a part with less detail does not count."""
_RELATIVE_NOISE = 0.02
"""The same, as a share of the variance of all detail."""
_PARTS, _SURROUNDING, _BATCH = 8, 6, 128
_KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_LONGEST_STEP = 0.08
_DAMPING, _LEAST_GAIN = 1e-3, 0.2


def register(first: Tensor, second: Tensor, placement: Tensor, rounds: int) -> Tensor:
    """Refine the placements `(B, 4)` of `second` in `first` (both `(B, 1, S, S)`, any brightness).

    A placement is `width, cx, height, cy` in half sides, 0 at the centre of `first`: `1, 0, 1, 0` is all of it, and
    `x` of `second` lies at `width · x + cx`. Gauss-Newton on placement, gain and offset together (Lucas & Kanade 1981,
    with the lighting model of Evangelidis & Psarakis, TPAMI 2008). It converges from about a pixel away, so use small
    copies first.
    """
    first, second = blurred(first), blurred(second)
    with_slopes = torch.cat([first, *_slopes(first)], dim=1)
    for _ in range(rounds):
        placement = placement + _step(with_slopes, second, placement)
    return placement


def sample_at(image: Tensor, placement: Tensor) -> tuple[Tensor, Tensor]:
    """Return the part of `image` `(B, C, S, S)` at `placement` `(B, 4)`, resampled to `(B, C, S, S)`, and which of its
    pixels lie inside the image, `(B, 1, S, S)`, 0 or 1."""
    grid = _grid(placement, image.shape[-1])
    inside = (grid.abs() <= 1).all(dim=-1)[:, None].float()
    sampled = functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
    return sampled, inside


def blurred(image: Tensor, times: int = 1) -> Tensor:
    """Apply a binomial filter, five pixels wide, to `image` `(B, 1, H, W)` `times` times."""
    kernel = image.new_tensor(_KERNEL)
    for _ in range(times):
        image = functional.conv2d(functional.pad(image, (2, 2, 0, 0), mode="replicate"), kernel.view(1, 1, 1, 5))
        image = functional.conv2d(functional.pad(image, (0, 0, 2, 2), mode="replicate"), kernel.view(1, 1, 5, 1))
    return image


def _step(with_slopes: Tensor, second: Tensor, placement: Tensor) -> Tensor:
    sampled, inside = sample_at(with_slopes, placement)
    values, across, down = sampled.unbind(dim=1)
    x = _centres(second.shape[-1], second)[None, None, :]
    y = x.transpose(1, 2)
    columns = torch.stack([values, torch.ones_like(values), across * x, across, down * y, down], dim=-1)
    columns = columns.flatten(1, 2)
    weighted = (columns * inside.flatten(1)[..., None]).transpose(1, 2)
    normal = weighted @ columns
    damping = _DAMPING + 1e-4 * normal.diagonal(dim1=1, dim2=2)
    solved = torch.linalg.solve(normal + damping.diag_embed(), weighted @ second.flatten(1)[..., None])[..., 0]
    moved: Tensor = solved[:, 2:] / solved[:, :1].clamp(min=_LEAST_GAIN)
    return moved.nan_to_num(0.0).clamp(-_LONGEST_STEP, _LONGEST_STEP)


def _grid(placement: Tensor, side: int) -> Tensor:
    centres = _centres(side, placement)
    x = placement[:, 0, None] * centres + placement[:, 1, None]
    y = placement[:, 2, None] * centres + placement[:, 3, None]
    return torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)


def _centres(side: int, like: Tensor) -> Tensor:
    return (torch.arange(side, device=like.device) + 0.5) * 2 / side - 1


def _slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives of `image` along x and y, per half side."""
    per = image.shape[-1] / 4
    wide = functional.pad(image, (1, 1, 0, 0), mode="replicate")
    tall = functional.pad(image, (0, 0, 1, 1), mode="replicate")
    return (wide[..., 2:] - wide[..., :-2]) * per, (tall[..., 2:, :] - tall[..., :-2, :]) * per


def likeness(first: Tensor, second: Tensor, placement: Tensor) -> Tensor:
    """Return how alike pairs of thumbnails are, `(B,)`: 0 for different photographs, else the correlation of their
    detail, in [.92, 1].

    `first` and `second` are `(B, S, S)` grey levels in [0, 255]; `placement` `(B, 4)` is roughly that of `second` in
    `first` (`register`). Recompression, rescaling, brightness, contrast and a crop to about .8 of each side do not
    matter. Detail is the difference from the mean of the surroundings: different photographs of similar scenes agree in
    coarse light and shadow, but not in detail. (ours)
    """
    parts = [_likeness(*(t[i : i + _BATCH] for t in (first, second, placement))) for i in range(0, len(first), _BATCH)]
    return torch.cat(parts) if parts else torch.zeros(0)


def _likeness(first: Tensor, second: Tensor, placement: Tensor) -> Tensor:
    first, second = first.float()[:, None], second.float()[:, None]
    halves = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    placement = register(*halves, placement.float(), _COARSE_ROUNDS)
    scores = torch.zeros(len(first), device=first.device)
    rows = torch.nonzero(_compare(*halves, placement, _SURROUNDING // 3)[0] >= _PROMISING)[:, 0]
    if len(rows):
        refined = register(first[rows], second[rows], placement[rows], _FINE_ROUNDS)
        detail, agreement, overlap = _compare(first[rows], second[rows], refined, _SURROUNDING)
        sizes = torch.stack([refined[:, 0], refined[:, 2]]).abs()
        same = (detail >= DETAIL) & (agreement >= MIN_AGREEMENT) & (overlap >= MIN_OVERLAP)
        same &= (sizes.amax(dim=0) <= MAX_SCALE) & (sizes.amin(dim=0) >= 1 / MAX_SCALE)
        scores[rows] = torch.where(same, detail.clamp(max=1.0), torch.zeros_like(detail))
    return scores


def _compare(first: Tensor, second: Tensor, placement: Tensor, surrounding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the correlation of detail, the agreement of the part that agrees least, and the share of `second` that
    `first` shows: each `(B,)`."""
    sampled, inside = sample_at(first, placement)
    one, two = ((image - blurred(image, surrounding)) * inside for image in (blurred(sampled), blurred(second)))
    count = inside.sum(dim=(1, 2, 3)).clamp(min=1)
    covariance, variance, variance_two = (
        (a * b).sum(dim=(1, 2, 3)) / count for a, b in ((one, two), (one, one), (two, two))
    )
    correlation = covariance / (variance * variance_two).sqrt().clamp(min=1e-6)
    side = first.shape[-1] // _PARTS
    share = functional.avg_pool2d(inside, side, side // 2)

    def by_part(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, side, side // 2) / share.clamp(min=1e-6)

    # Equalise the gain, so that detail in only one of the images counts the same in both.
    one = one * (variance_two / variance.clamp(min=1e-6)).sqrt()[:, None, None, None]
    floor = _NOISE**2 + _RELATIVE_NOISE * variance_two[:, None, None, None]
    energy = by_part(one.square() + two.square()) / 2
    agreement = (by_part(one * two) + floor) / (energy + floor)
    agreement = torch.where(share > 0.5, agreement, torch.ones_like(agreement))
    return correlation, agreement.flatten(1).amin(dim=1), inside.mean(dim=(1, 2, 3))
