"""Transductive experimental design: records whose labels tell the most about all others."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from rsam_app.selection.embeddings import directions, finite_rows, gaussians, median_distance, sample_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.uncertainty import usable_narrowness
from rsam_app.selection.strategy import Choice, Strategy, missing_last

WIDTHS = (0.5, 0.8, 1.2, 2.0)
"""Widths of the kernels, in median distances between two records. Narrow kernels alone are better on birds, whose
classes are well separated in the embeddings, wide ones on the generated beetles, whose classes are not; together they
match the better of the two on either."""
NOISE = 0.1
"""Noise variance of a label, relative to the prior variance 1. The results are the same from .03 to .3."""
DECIDED = 0.2
"""Weight of a record that the model is certain of; one that it is torn over has weight 1."""
ANCHORS, CANDIDATES, LABELLED = 4096, 16_384, 4096
"""Maximum numbers of records that uncertainty is measured on, that are chosen from, and that count as labelled: half a
GiB. Larger pools are sampled by seed."""
_COLUMNS = 1024


class Posterior:
    """Posterior covariance of a Gaussian process at A anchors and N candidates, for up to `budget` new labels.

    `anchors` `(A, D)`, `candidates` `(N, D)` and `labelled` `(L, D)` are unit vectors; `widths` belong to the kernels,
    `weights` `(A,)` ≥ 0 to the anchors. The covariance does not depend on the labels' values, so none are needed.
    """

    def __init__(
        self,
        anchors: np.ndarray,
        candidates: np.ndarray,
        labelled: np.ndarray,
        weights: np.ndarray,
        widths: tuple[float, ...],
        budget: int,
    ) -> None:
        self._candidates, self._widths, self._weights = candidates, widths, weights.astype(np.float32)
        self._between = gaussians(anchors, candidates, widths)
        self._rows = np.zeros((len(labelled) + budget, len(candidates)), dtype=np.float32)  # of a Cholesky factor
        self._columns = np.zeros((budget, len(anchors)), dtype=np.float32)  # the same at the anchors, of the chosen
        self._known, self._chosen = len(labelled), 0
        if len(labelled):
            noisy = gaussians(labelled, labelled, widths)
            noisy.flat[:: len(labelled) + 1] += NOISE
            root = cholesky(noisy, lower=True, overwrite_a=True)
            self._rows[: self._known] = solve_triangular(root, gaussians(labelled, candidates, widths), lower=True)
            at_anchors = solve_triangular(root, gaussians(labelled, anchors, widths), lower=True)
            self._between -= at_anchors.T @ self._rows[: self._known]
        self.variance = np.maximum(1 - np.einsum("ln,ln->n", self._rows, self._rows), 0)
        """Variance of each candidate, `(N,)`: 1 nothing is known about it, 0 everything."""
        blocks = range(0, len(candidates), _COLUMNS)
        reductions = [self._weights @ self._between[:, begin : begin + _COLUMNS] ** 2 for begin in blocks]
        self._reductions = np.concatenate(reductions).astype(np.float64)

    def gains(self) -> np.ndarray:
        """Return how much the label of each candidate reduces the anchors' weighted variance Σᵢ wᵢ Vᵢ: `(N,)`."""
        gains: np.ndarray = np.maximum(self._reductions, 0) / (self.variance + NOISE)
        return gains

    def label(self, candidate: int) -> None:
        """Count a candidate as labelled."""
        before, after = slice(0, self._chosen), self._known + self._chosen
        row = gaussians(self._candidates[candidate][None], self._candidates, self._widths)[0]
        row -= self._rows[:after, candidate] @ self._rows[:after]
        earlier = self._rows[self._known : after]
        column = self._between[:, candidate] - earlier[:, candidate] @ self._columns[before]
        scale = np.float32(1 / np.sqrt(self.variance[candidate] + NOISE))
        row *= scale
        column *= scale
        weighted = self._weights * column
        along = weighted @ self._between - (self._columns[before] @ weighted) @ earlier
        self._reductions += row * (row * (weighted @ column) - 2 * along)
        self.variance = np.maximum(self.variance - row**2, 0)
        self._rows[after], self._columns[self._chosen] = row, column
        self._chosen += 1


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    embeddings, covered = pool.require_embeddings(), pool.covered_embeddings()
    usable, unsure = usable_narrowness(pool, finite_rows(embeddings))
    if not len(usable):
        return missing_last(usable, np.zeros(0), usable, pool, budget, rng)
    candidates, anchors = sample_rows(usable, max(CANDIDATES, budget), rng), sample_rows(usable, ANCHORS, rng)
    at_candidates, at_anchors = directions(embeddings[candidates]), directions(embeddings[anchors])
    labelled = directions(covered[sample_rows(finite_rows(covered), LABELLED, rng)])
    median = median_distance(at_anchors, rng)
    widths = tuple(width * median for width in WIDTHS)
    weights = DECIDED + (1 - DECIDED) * unsure[anchors]
    count = min(budget, len(candidates))
    posterior = Posterior(at_anchors, at_candidates, labelled, weights, widths, count)
    chosen, scores, free = [], [], np.ones(len(candidates), dtype=bool)
    for _ in range(count):
        gains = np.where(free, posterior.gains(), -np.inf)
        best = int(gains.argmax())
        posterior.label(best)
        chosen.append(best)
        scores.append(float(gains[best]))
        free[best] = False
    return missing_last(candidates[chosen], np.array(scores), usable, pool, budget, rng)


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    reasons = [f"its label would settle the uncertainty of about {score:.1f} images" for score in scores]
    if np.isnan(pool.margin).all():
        return reasons
    return [f"{reason}; now {pool.prediction(i)}" for i, reason in zip(indices, reasons, strict=True)]


TRANSDUCTIVE_DESIGN = Strategy(
    name="transductive_design",
    summary="records whose labels tell the most about the others; also when embeddings hardly separate the classes",
    source=(
        "Yu, Bi & Tresp, Active Learning via Transductive Experimental Design, ICML 2006; kernels of several widths and"
        " the weight of uncertain records are ours"
    ),
    pick=_pick,
    explain=_explain,
    needs_embeddings=True,
)
