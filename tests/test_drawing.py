"""Draws against the probabilities they are made with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from importance_sampling.sampling.drawing import multinomial, systematic

P = np.array([0.0, 0.02, 0.08, 0.1, 0.3, 0.5, 0.0])


def test_multinomial_counts_follow_p():
    """Chi-square on 100,000 draws: at level 0.001 it finds a shift of 1 point in any p with power above 0.99."""
    counts = np.bincount(multinomial(P, 100_000, np.random.default_rng(0)), minlength=len(P))
    assert counts[P == 0].sum() == 0
    assert stats.chisquare(counts[P > 0], 100_000 * P[P > 0]).pvalue > 0.001


def test_systematic_keeps_the_expected_counts():
    """2,000 batches of 13: the mean count of each sample is b p_i within 4 standard errors (counts vary by less than 1)."""
    rng = np.random.default_rng(0)
    counts = np.array([np.bincount(systematic(P, 13, rng), minlength=len(P)) for _ in range(2000)])
    np.testing.assert_allclose(counts.mean(axis=0), 13 * P, atol=4 * 0.5 / np.sqrt(2000))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_systematic_counts_are_floor_or_ceil(scores, b, seed):
    scores = np.array(scores)
    if scores.sum() == 0:
        scores += 1
    p = scores / scores.sum()
    counts = np.bincount(systematic(p, b, np.random.default_rng(seed)), minlength=len(p))
    assert counts.sum() == b
    assert np.all(counts >= np.floor(b * p - 1e-9)) and np.all(counts <= np.ceil(b * p + 1e-9))
    assert counts[p == 0].sum() == 0


def test_systematic_has_less_variance():
    rng = np.random.default_rng(0)
    spread = {
        draw: np.var([np.bincount(draw(P, 16, rng), minlength=len(P)) for _ in range(500)], axis=0).sum()
        for draw in (multinomial, systematic)
    }
    assert spread[systematic] < spread[multinomial] / 4


@pytest.mark.parametrize("draw", [multinomial, systematic])
def test_the_end_of_the_distribution_is_never_passed(draw):
    """A generator that returns the largest float below 1, and probabilities whose sum is above 1 by round-off."""

    class Last:
        def random(self, size=None):
            return np.full(size, np.nextafter(1, 0)) if size else np.nextafter(1, 0)

    p = np.array([1 / 3, 1 / 3, 1 / 3 + 1e-16, 0.0])
    assert draw(p, 1, Last()).max() == 2
