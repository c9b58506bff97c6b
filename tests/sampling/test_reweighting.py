"""Weights against the equations of the paper, computed the slow way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importance_sampling.sampling.reweighting import check_k, literal, rescaled

distributions = st.lists(st.floats(1e-6, 1), min_size=2, max_size=20).map(lambda s: np.array(s) / np.sum(s))


@given(distributions)
def test_k_1_is_eq_11_under_both_rules(p):
    everything = np.arange(len(p))
    for rule in (literal, rescaled):
        np.testing.assert_allclose(rule(len(p) * p, everything, 1.0), 1 / (len(p) * p), rtol=1e-9)


@given(distributions, st.floats(-3, 1))
def test_literal_is_eq_12(p, k):
    expected = [1 / (len(p) * p_i**k) for p_i in p]
    np.testing.assert_allclose(literal(len(p) * p, np.arange(len(p)), k), expected, rtol=1e-9)


@given(distributions, st.floats(-3, 1))
def test_rescaled_is_proportional_and_keeps_the_scale(p, k):
    everything = np.arange(len(p))
    weights = rescaled(len(p) * p, everything, k)
    factor = weights / literal(len(p) * p, everything, k)
    np.testing.assert_allclose(factor, factor[0], rtol=1e-7)
    np.testing.assert_allclose(np.sum(p * weights * len(p) * p), 1.0, rtol=1e-7)  # E_p[alpha q] = 1


def test_uniform_probabilities_give_weight_1_for_every_k():
    p = np.full(8, 1 / 8)
    for k in (1.0, 0.5, 0.0, -2.0, -50.0):
        np.testing.assert_allclose(rescaled(8 * p, np.arange(8), k), 1.0)


def test_far_below_1_nothing_overflows():
    p = np.array([1e-12, 0.1, 0.9 - 1e-12])
    weights = rescaled(3 * p, np.arange(3), -1000.0).astype(np.float32)
    assert np.all(np.isfinite(weights)) and weights.argmax() == 2


@pytest.mark.parametrize("k", [1.5, float("nan"), float("inf"), -float("inf"), "1"])
def test_a_k_out_of_range_is_refused(k):
    with pytest.raises(ValueError, match=f"`k` must be a number <= 1, and finite .* Received: k={k!r}"):
        check_k(k)
