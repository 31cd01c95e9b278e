"""Paired tests against counts and libraries that compute them differently."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rsam_app.evaluation.metrics.paired import mcnemar, paired_difference


@pytest.mark.parametrize(("fixed", "broken"), [(10, 2), (2, 10), (7, 7), (1, 0), (30, 12)])
def test_mcnemar_sums_the_binomial_tail(fixed, broken):
    n, low = fixed + broken, min(fixed, broken)
    tail = sum(math.comb(n, k) for k in range(low + 1)) / 2**n
    assert mcnemar(fixed, broken) == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_of_no_change_is_one():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(10, 2) == pytest.approx(158 / 4096)


def test_the_interval_is_that_of_scipys_paired_t_test():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 20))
    found = paired_difference(dict(enumerate(first)), dict(enumerate(second)))
    expected = stats.ttest_rel(first, second)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p == pytest.approx(expected.pvalue)
