"""Whether two thumbnails show one photograph: laid over each other, their detail agrees, and it does so everywhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rsam_app.data.near_duplicates.result import DETAIL

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


EVERYWHERE = 0.4
"""Agreement that each part of them must reach: two photographs by a camera that stands still differ in a part."""
COVER = 0.6
"""Share of the one that the other must show at least."""
WIDEST = 1.35
"""Most that one may be larger than the other, along a side."""
_COARSE, _FINE = 5, 4
"""Rounds of registration at half the side and at the whole."""
_PROMISING = 0.6
"""Correlation of detail at half the side below which a pair is not looked at more closely."""
_NOISE = 1.0
"""Grey levels by which recompression alone changes a thumbnail; a part with less detail says nothing."""
_WEAK = 0.02
"""The same, as a share of the variance of all detail."""
_PARTS = 8
_SURROUNDING = 6
_BATCH = 128


def likeness(shown: Tensor, other: Tensor, place: Tensor) -> Tensor:
    """How alike two thumbnails are, `(B,)`: 0 where they are different photographs, else the correlation of their
    detail, in [.92, 1].

    `shown` and `other` are `(B, S, S)` grey levels in [0, 255]; `place` `(B, 4)` says about where in `shown` the other
    one lies (`registration.register`). Recompression, rescaling, other brightness or contrast and a crop that leaves
    about .8 of each side do not matter. Detail is what is left when the surroundings' mean is taken off: different
    photographs of the same kind of scene agree in their coarse lights and shadows, and not in their detail. (ours)
    """
    parts = [_likeness(*(t[i : i + _BATCH] for t in (shown, other, place))) for i in range(0, len(shown), _BATCH)]
    return torch.cat(parts) if parts else torch.zeros(0)


def _likeness(shown: Tensor, other: Tensor, place: Tensor) -> Tensor:
    shown, other = shown.float()[:, None], other.float()[:, None]
    halves = functional.avg_pool2d(shown, 2), functional.avg_pool2d(other, 2)
    place = register(*halves, place.float(), _COARSE)
    found = torch.zeros(len(shown), device=shown.device)
    rows = torch.nonzero(_compare(*halves, place, _SURROUNDING // 3)[0] >= _PROMISING)[:, 0]
    if len(rows):
        closer = register(shown[rows], other[rows], place[rows], _FINE)
        detail, everywhere, cover = _compare(shown[rows], other[rows], closer, _SURROUNDING)
        sizes = torch.stack([closer[:, 0], closer[:, 2]]).abs()
        same = (detail >= DETAIL) & (everywhere >= EVERYWHERE) & (cover >= COVER)
        same &= (sizes.amax(dim=0) <= WIDEST) & (sizes.amin(dim=0) >= 1 / WIDEST)
        found[rows] = torch.where(same, detail.clamp(max=1.0), torch.zeros_like(detail))
    return found


def _compare(shown: Tensor, other: Tensor, place: Tensor, surrounding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Correlation of detail, the agreement of the part that agrees least, and the share of `other` that `shown` has:
    each `(B,)`."""
    taken, inside = taken_at(shown, place)
    first, second = (image - blurred(image, surrounding) for image in (blurred(taken), blurred(other)))
    first, second = first * inside, second * inside
    count = inside.sum(dim=(1, 2, 3)).clamp(min=1)
    both, one, two = (
        (a * b).sum(dim=(1, 2, 3)) / count for a, b in ((first, second), (first, first), (second, second))
    )
    correlation = both / (one * two).sqrt().clamp(min=1e-6)
    side = shown.shape[-1] // _PARTS
    share = functional.avg_pool2d(inside, side, side // 2)

    def by_part(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, side, side // 2) / share.clamp(min=1e-6)

    # The gain is taken out, so that what is there in one alone counts the same in both.
    first = first * (two / one.clamp(min=1e-6)).sqrt()[:, None, None, None]
    floor = _NOISE**2 + _WEAK * two[:, None, None, None]
    energy = by_part(first.square() + second.square()) / 2
    agreement = (by_part(first * second) + floor) / (energy + floor)
    agreement = torch.where(share > 0.5, agreement, torch.ones_like(agreement))
    return correlation, agreement.flatten(1).amin(dim=1), inside.mean(dim=(1, 2, 3))
