"""Records whose labels would tell the most about all the others: the design of an experiment, at several scales."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from rsam_app.selection.embeddings import directions, finite_rows, gaussians, median_distance, sample_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.uncertainty import doubts
from rsam_app.selection.strategy import Choice, Strategy, missing_last

WIDTHS = (0.5, 0.8, 1.2, 2.0)
"""Of the kernels, in median distances between two records. Narrow ones alone are better on birds, whose classes lie
apart in the embeddings, wide ones alone on the generated beetles, whose classes hardly do; together they are as good as
the better of the two on either."""
NOISE = 0.1
"""Variance of a label about what its embedding tells, where 1 is the variance of what is not known yet. From .03 to .3
nothing changes."""
DECIDED = 0.2
"""What a record that the model has decided about counts beside one that it is torn over."""
ANCHORS, CANDIDATES, LABELLED = 4096, 16_384, 4096
"""Most records that uncertainty is measured on, that are chosen among, and that are taken as known: half a gibibyte.
Larger pools are sampled by seed."""


class Posterior:
    """What is still unknown of A anchors and N candidates while up to `budget` of the candidates are labelled: the
    covariance of a Gaussian process.

    `anchors` `(A, D)`, `candidates` `(N, D)` and `labelled` `(L, D)` are unit vectors, `widths` those of the kernels,
    `weights` `(A,)` ≥ 0 how much each anchor counts. What a label tells does not depend on which it is, so none is
    asked for.
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
        """Of each candidate, `(N,)`: 1 nothing is known of it, 0 all."""
        blocks = range(0, len(candidates), _COLUMNS)
        told = [self._weights @ self._between[:, begin : begin + _COLUMNS] ** 2 for begin in blocks]
        self._told = np.concatenate(told).astype(np.float64)

    def gains(self) -> np.ndarray:
        """By how much the anchors' weighted variance, Σᵢ wᵢ Vᵢ, falls with the label of each candidate: `(N,)`."""
        found: np.ndarray = np.maximum(self._told, 0) / (self.variance + NOISE)
        return found

    def label(self, candidate: int) -> None:
        """Take the label of a candidate as known."""
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
        self._told += row * (row * (weighted @ column) - 2 * along)
        self.variance = np.maximum(self.variance - row**2, 0)
        self._rows[after], self._columns[self._chosen] = row, column
        self._chosen += 1


_COLUMNS = 1024


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    if pool.embeddings is None:
        raise ValueError("transductive_design needs a pool with embeddings")
    usable, unsure = doubts(pool, finite_rows(pool.embeddings))
    if not len(usable):
        return missing_last(usable, np.zeros(0), usable, pool, budget, rng)
    candidates, anchors = sample_rows(usable, max(CANDIDATES, budget), rng), sample_rows(usable, ANCHORS, rng)
    shown = directions(pool.embeddings[candidates])
    at_anchors = directions(pool.embeddings[anchors])
    labelled = np.zeros((0, shown.shape[1]), dtype=np.float32)
    if pool.covered is not None and len(pool.covered):
        labelled = directions(pool.covered[sample_rows(finite_rows(pool.covered), LABELLED, rng)])
    median = median_distance(at_anchors, rng)
    widths = tuple(width * median for width in WIDTHS)
    weights = DECIDED + (1 - DECIDED) * unsure[anchors]
    count = min(budget, len(candidates))
    posterior = Posterior(at_anchors, shown, labelled, weights, widths, count)
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
    told = [f"its label would settle what is not known of about {score:.1f} images" for score in scores]
    if np.isnan(pool.margin).all():
        return told
    return [
        f"{reason}; now {pool.predicted[i]} ({pool.confidence[i]:.0%})" for i, reason in zip(indices, told, strict=True)
    ]


TRANSDUCTIVE_DESIGN = Strategy(
    name="transductive_design",
    summary="records whose labels tell the most about the others; also where embeddings hardly tell classes apart",
    source=(
        "Yu, Bi & Tresp, Active Learning via Transductive Experimental Design, ICML 2006; kernels of several widths and"
        " the weight of what the model is unsure of are ours"
    ),
    pick=_pick,
    explain=_explain,
    needs_embeddings=True,
)
