"""Predictors of a rectangle's five numbers from feature maps.

A predictor takes maps `(B, C, H, W)`, earlier stages first, and returns rectangles `(B, 5)` in cells of the last one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry

WHOLE_SIDE = (0.0, math.log(19.0))
"""Centre and size, before a sigmoid, of a rectangle that covers .95 of a side."""

UPRIGHT = (1.0, 0.0)
"""The direction whose half is the angle 0."""


class Predictor(nn.Module):
    """The interface: maps in, rectangles `(B, 5)` in cells of the last map out."""

    uses_stages = False
    """Whether its maps are those of a backbone's stages rather than the gated map alone."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()


class ProfilePredictor(Predictor):
    """The rectangle regressed from profiles along the image's axes: uses two stages, learns from targets.

    Each map, standardised and reduced to a few channels, is averaged along its columns and along its rows. The column
    profiles give cx and width, the row profiles cy and height, both together the angle: the columns show an object's
    left and right edge, whatever its height. So an earlier stage with four times as many cells costs few parameters:
    8 and 12 channels, 24 hidden units per axis. On birds the upright boxes' mean overlap is .64, against .61 from a
    7 × 7 grid of the last map, and .75 against .69 with true boxes as targets. (ours; pooling along axes as in
    coordinate attention, Hou et al. 2021, arXiv 2103.02907)
    """

    uses_stages = True
    finest, coarsest, hidden = 14, 7, 24

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        several = len(channels) > 1
        widths = [8] * (len(channels) - 1) + [12]
        self.grids = [self.finest] * (len(channels) - 1) + [self.coarsest if several else self.finest]
        self.reduce = nn.ModuleList(nn.Conv2d(c, w, kernel_size=1) for c, w in zip(channels, widths, strict=True))
        inputs = sum(grid * width for grid, width in zip(self.grids, widths, strict=True))
        self.columns, self.rows = nn.Linear(inputs, self.hidden), nn.Linear(inputs, self.hidden)
        self.across, self.down = nn.Linear(self.hidden, 2), nn.Linear(self.hidden, 2)
        self.turn = nn.Linear(2 * self.hidden, 2)
        for layer, bias in ((self.across, WHOLE_SIDE), (self.down, WHOLE_SIDE), (self.turn, UPRIGHT)):
            nn.init.zeros_(layer.weight)
            with torch.no_grad():
                layer.bias.copy_(torch.tensor(bias))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Rectangles `(B, 5)` in cells of the last of `maps`."""
        reduced = [F.gelu(reduce(_standardised(one))) for reduce, one in zip(self.reduce, maps, strict=True)]
        along_x = F.gelu(self.columns(self._profiles(reduced, 2)))
        along_y = F.gelu(self.rows(self._profiles(reduced, 3)))
        x, y = self.across(along_x), self.down(along_y)
        turn = self.turn(torch.cat([along_x, along_y], dim=1))
        return _placed(torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1], turn[:, 0], turn[:, 1]], dim=1), maps[-1])

    def _profiles(self, maps: Sequence[Tensor], averaged: int) -> Tensor:
        profiles = [_resampled(m.mean(dim=averaged), grid) for m, grid in zip(maps, self.grids, strict=True)]
        return torch.cat([profile.flatten(1) for profile in profiles], dim=1)


class PeakPredictor(Predictor):
    """The rectangle around a peak of learned maps: uses two stages, learns from targets, sees alike everywhere.

    Each map, standardised and reduced to a few channels on the grid of the earliest one, scores each position for
    several peaks; a softmax over the positions turns a score into a distribution. The first one's mean and spread are
    a first centre and size, which a small network refines from the features there and from where the other peaks are.
    No weight belongs to a place in the image, so a few hundred images with the object anywhere suffice: with 400
    discovered targets the upright boxes' mean overlap on small, displaced objects is .56, against .32 from profiles.
    (ours; expected positions as in the integral regression of Sun et al. 2018, arXiv 1711.08229)
    """

    uses_stages = True
    width, peaks, hidden = 16, 5, 32
    smallest = 0.02
    """Smallest side of a rectangle, as a share of the map's."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        self.reduce = nn.ModuleList(nn.Conv2d(c, self.width, kernel_size=1) for c in channels)
        self.direct = nn.ModuleList(nn.Conv2d(c, 1, kernel_size=1, bias=False) for c in channels)
        self.score = nn.Conv2d(self.width * len(channels), self.peaks, kernel_size=1)
        for layer in (*self.direct, self.score):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.score.bias)  # type: ignore[arg-type]
        self.log_sharpness = nn.Parameter(torch.tensor(1.0))
        self.refine = nn.Linear(self.width * len(channels) + 4 * self.peaks, self.hidden)
        self.out = nn.Linear(self.hidden, 6)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, *UPRIGHT]))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Rectangles `(B, 5)` in cells of the last of `maps`."""
        features, weights = self._features_and_weights(maps)
        pooled = torch.einsum("bchw,bhw->bc", features, weights[:, 0])
        x, across = _mean_and_spread(weights.sum(dim=2))
        y, down = _mean_and_spread(weights.sum(dim=3))
        apart = ((c[:, 1:] - c[:, :1]) / spread[:, :1] for c, spread in ((x, across), (y, down)))
        known = torch.cat([pooled, across.log(), down.log(), x[:, :1], y[:, :1], *apart], dim=1)
        raw = self.out(F.gelu(self.refine(known)))
        width = (across[:, 0] * raw[:, 2].exp()).clamp(self.smallest, 1.0)
        height = (down[:, 0] * raw[:, 3].exp()).clamp(self.smallest, 1.0)
        centre_x, centre_y = x[:, 0] + raw[:, 0] * width / 2, y[:, 0] + raw[:, 1] * height / 2
        return _in_cells(torch.stack([centre_x, centre_y, width, height], dim=1), raw[:, 4:], maps[-1])

    def _features_and_weights(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Reduced features `(B, C, H, W)` on the earliest map's grid, and each peak's distribution
        `(B, peaks, H, W)`."""
        size = maps[0].shape[2:]
        exact = [_standardised(one) for one in maps]
        reduced = [_on_grid(reduce(one), size) for reduce, one in zip(self.reduce, exact, strict=True)]
        features = F.gelu(torch.cat(reduced, dim=1))
        scores = self.score(features)
        for direct, one in zip(self.direct, exact, strict=True):
            scores = scores + _on_grid(direct(one), size)
        weights = torch.softmax(scores.flatten(2) * self.log_sharpness.exp(), dim=2)
        return features, weights.view_as(scores)


class MomentsPredictor(Predictor):
    """The rectangle with the moments of a learned one-channel map: `channels + 3` parameters, equivariant by design.

    The map is a linear score of standardised features through a sigmoid; one learned factor per axis stretches the
    moments' rectangle, because objects are not uniform rectangles. Starts with an even map, whose rectangle covers
    almost the whole image.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        self.score = nn.Conv2d(channels[-1], 1, kernel_size=1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)  # type: ignore[arg-type]
        self.log_stretch = nn.Parameter(torch.zeros(2))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Rectangles `(B, 5)` in cells of the last of `maps`, the only one used."""
        rectangle = geometry.from_moments(self.weights(maps[-1]))
        size = rectangle[:, 2:4] * geometry.at_least_float32(self.log_stretch).exp()
        return torch.cat([rectangle[:, :2], size, rectangle[:, 4:]], dim=1)

    def weights(self, features: Tensor) -> Tensor:
        """The map `(B, H, W)` in [0, 1] whose moments are taken."""
        return torch.sigmoid(self.score(_standardised(features)))[:, 0]


class RegressionPredictor(Predictor):
    """The rectangle regressed from a pooled grid of reduced features: learns from targets.

    8 channels on a 7 × 7 grid through 16 hidden units: 8 C + 6,400 parameters; on birds 64 and 64 units gave 1 point
    more overlap for seventeen times as many parameters. Starts with a rectangle that covers the map.
    """

    grid = 7

    def __init__(self, channels: Sequence[int], reduced: int = 8, hidden: int = 16) -> None:
        super().__init__(channels)
        self.reduce = nn.Conv2d(channels[-1], reduced, kernel_size=1)
        self.hidden = nn.Linear(reduced * self.grid**2, hidden)
        self.out = nn.Linear(hidden, 6)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.copy_(torch.tensor([WHOLE_SIDE[0], WHOLE_SIDE[0], WHOLE_SIDE[1], WHOLE_SIDE[1], *UPRIGHT]))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Rectangles `(B, 5)` in cells of the last of `maps`, the only one used."""
        grid = F.gelu(self.reduce(_standardised(maps[-1])))
        if grid.shape[2:] != (self.grid, self.grid):
            grid = F.adaptive_avg_pool2d(grid, self.grid)
        return _placed(self.out(F.gelu(self.hidden(grid.flatten(1)))), maps[-1])


def _placed(raw: Tensor, last: Tensor) -> Tensor:
    """Rectangles `(B, 5)` in cells of a map from six numbers `(B, 6)`: a sigmoid maps centre and size to (0, 1) of the
    map, and the last two are the direction of `_in_cells`."""
    return _in_cells(torch.sigmoid(raw[:, :4]), raw[:, 4:], last)


def _in_cells(shares: Tensor, direction: Tensor, last: Tensor) -> Tensor:
    """Rectangles `(B, 5)` in cells of a map from centres and sizes `(B, 4)` as shares of it. The angle is half the
    direction of a vector `(B, 2)`, so it does not jump at ±π/2."""
    extent = shares.new_tensor([last.shape[3], last.shape[2]])
    angle = 0.5 * torch.atan2(direction[:, 1], direction[:, 0])
    return torch.cat([shares * torch.cat([extent, extent]), angle[:, None]], dim=1)


def _on_grid(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps `(B, C, H, W)` on a grid of `size`."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _mean_and_spread(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Means `(B, P)` of distributions `(B, P, L)` over a line of length 1, and the lengths `(B, P)` of the uniform ones
    with the same variances."""
    length = weights.shape[2]
    places = (torch.arange(length, device=weights.device, dtype=weights.dtype) + 0.5) / length
    mean = (weights * places).sum(dim=2)
    variance = (weights * (places - mean[:, :, None]) ** 2).sum(dim=2)
    return mean, (12 * variance + 1e-4).sqrt()


def _resampled(profile: Tensor, cells: int) -> Tensor:
    """A profile `(B, C, L)` on another number of cells, each the mean over its extent."""
    length = profile.shape[2]
    if length == cells:
        return profile
    here, there = torch.arange(length), torch.arange(cells)
    low = torch.maximum(here[:, None] / length, there[None] / cells)
    high = torch.minimum((here[:, None] + 1) / length, (there[None] + 1) / cells)
    return profile @ ((high - low).clamp_min(0) * cells).to(profile)


def _standardised(features: Tensor) -> Tensor:
    """Features `(B, C, H, W)` in float32 with mean 0 and variance 1 over the channels at each position."""
    exact = geometry.at_least_float32(features).permute(0, 2, 3, 1)
    return F.layer_norm(exact, (features.shape[1],)).permute(0, 3, 1, 2)


PREDICTORS: dict[str, type[Predictor]] = {
    "peaks": PeakPredictor,
    "profiles": ProfilePredictor,
    "regression": RegressionPredictor,
    "moments": MomentsPredictor,
}
