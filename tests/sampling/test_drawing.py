"""Draws against the probabilities they are made with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from importance_sampling import ArraySource, ImportanceSampler
from importance_sampling.sampling.drawing import inclusion_probabilities, multinomial, systematic, without_replacement

P = np.array([0.0, 0.02, 0.08, 0.1, 0.3, 0.5, 0.0])


def test_multinomial_counts_follow_p():
    """Chi-square on 100,000 draws: at level 0.001 it finds a shift of 1 point in any p with power above 0.99."""
    counts = np.bincount(multinomial(P, 100_000, np.random.default_rng(0))[0], minlength=len(P))
    assert counts[P == 0].sum() == 0
    assert stats.chisquare(counts[P > 0], 100_000 * P[P > 0]).pvalue > 0.001


def test_systematic_keeps_the_expected_counts():
    """2,000 batches of 13: the mean count of each sample is b p_i within 4 standard errors (counts vary by less than 1)."""
    rng = np.random.default_rng(0)
    counts = np.array([np.bincount(systematic(P, 13, rng)[0], minlength=len(P)) for _ in range(2000)])
    np.testing.assert_allclose(counts.mean(axis=0), 13 * P, atol=4 * 0.5 / np.sqrt(2000))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_systematic_counts_are_floor_or_ceil(scores, b, seed):
    scores = np.array(scores)
    if scores.sum() == 0:
        scores += 1
    p = scores / scores.sum()
    counts = np.bincount(systematic(p, b, np.random.default_rng(seed))[0], minlength=len(p))
    assert counts.sum() == b
    assert np.all(counts >= np.floor(b * p - 1e-9)) and np.all(counts <= np.ceil(b * p + 1e-9))
    assert counts[p == 0].sum() == 0


def test_systematic_has_less_variance():
    rng = np.random.default_rng(0)
    spread = {
        draw: np.var([np.bincount(draw(P, 16, rng)[0], minlength=len(P)) for _ in range(500)], axis=0).sum()
        for draw in (multinomial, systematic)
    }
    assert spread[systematic] < spread[multinomial] / 4


@pytest.mark.parametrize("draw", [multinomial, systematic])
def test_the_end_of_the_distribution_is_never_passed(draw):
    """A generator that returns the largest float below 1, and probabilities whose sum is above 1 by round-off."""

    class Last:
        def random(self, size=None):
            return np.full(size, np.nextafter(1, 0)) if size else np.nextafter(1, 0)

        def permutation(self, size):
            return np.arange(size)

    p = np.array([1 / 3, 1 / 3, 1 / 3 + 1e-16, 0.0])
    assert draw(p, 1, Last())[0].max() == 2


scores_and_b = st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e3)), min_size=1, max_size=30).flatmap(
    lambda scores: st.tuples(st.just(np.array(scores)), st.integers(1, len(scores)))
)


@settings(max_examples=300, deadline=None)
@given(scores_and_b, st.integers(0, 2**32 - 1))
def test_without_replacement_takes_each_at_most_once(given_, seed):
    scores, b = given_
    if not scores.any():
        scores = scores + 1
    chosen, inclusion = without_replacement(scores / scores.sum(), b, np.random.default_rng(seed))
    assert len(set(chosen)) == len(chosen) == b
    assert np.all(inclusion[chosen] > 0)
    np.testing.assert_allclose(inclusion.sum(), b)
    assert np.all((inclusion >= 0) & (inclusion <= 1))
    assert set(np.flatnonzero(inclusion == 1)) <= set(chosen)


@settings(max_examples=300, deadline=None)
@given(scores_and_b)
def test_inclusion_is_the_score_times_a_constant_up_to_1(given_):
    """Against bisection for c in `sum min(1, c s_i) = b`, where so many scores are above 0."""
    scores, b = given_
    if np.count_nonzero(scores) <= b:
        return
    low, high = 0.0, b / scores[scores > 0].min()
    for _ in range(200):
        c = (low + high) / 2
        low, high = (c, high) if np.minimum(1, c * scores).sum() < b else (low, c)
    np.testing.assert_allclose(inclusion_probabilities(scores, b), np.minimum(1, high * scores), rtol=1e-6, atol=1e-9)


def test_without_replacement_includes_as_often_as_it_says():
    """20,000 draws of 3 of 7: each is included as often as it says, within 4 standard errors; the shares without the scores
    would be 0.43."""
    rng, scores = np.random.default_rng(0), np.array([0.4, 0.2, 0.15, 0.1, 0.1, 0.05, 0.0])
    draws = [without_replacement(scores, 3, rng) for _ in range(20_000)]
    share = np.bincount(np.concatenate([chosen for chosen, _ in draws]), minlength=7) / 20_000
    expected = draws[0][1]
    np.testing.assert_allclose(expected[:2], [1.0, 2 / 3])
    np.testing.assert_allclose(share, expected, atol=4 * 0.5 / np.sqrt(20_000))


@pytest.mark.parametrize("pools", ["random", "permutation", "sequential"])
@pytest.mark.parametrize("importance", ["pcg", "history"])
def test_an_order_with_a_period_makes_no_batches_of_one_phase(importance, pools):
    """Hours of 60 days, batches of 48: the mean of a value of the hour varies as it does by uniform sampling. With equal scores and
    400 batches the ratio of variances is within 0.8 and 1.25 at four standard errors; in the order of the data it was above 20."""
    n, b = 24 * 60, 48
    hours = np.arange(n) % 24
    sampler = ImportanceSampler(ArraySource(np.zeros((n, 1)), hours // 8), importance, k=1.0, pools=pools, seed=0)
    means = []
    for _ in range(400):
        draw = sampler.draw(b)
        means.append(np.cos(2 * np.pi * hours[draw.indices] / 24).mean())
        sampler.update(draw, np.ones(b), np.ones(b))
    assert 0.75 < np.var(means) / (0.5 / b * (n - b) / (n - 1)) < 1.25
