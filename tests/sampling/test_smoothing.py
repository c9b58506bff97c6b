"""Smoothing of scores (section 3.3.1)."""

import numpy as np
import pytest

from importance_sampling import adaptive, additive, power
from importance_sampling.sampling.smoothing import SMOOTHINGS

SCORES = np.array([0.0, 1.0, 4.0])


def test_formulas():
    np.testing.assert_allclose(additive(0.5)(SCORES), [0.5, 1.5, 4.5])
    np.testing.assert_allclose(power(0.5)(SCORES), [0, 1, 2])
    np.testing.assert_allclose(power(0)(SCORES), 1)


def test_adaptive_is_a_fraction_of_the_moving_average():
    smooth = adaptive(0.5, momentum=0.75)
    np.testing.assert_allclose(smooth(SCORES), 1)  # nothing is known: uniform
    means = [2.0, 1.0, 4.0]
    for mean in means:
        smooth.observe(mean)
    weights = np.array([0.75**2, 0.75, 1.0])  # of the oldest to the newest, by hand
    expected = np.dot(weights, means) / weights.sum()
    np.testing.assert_allclose(smooth.mean, expected)
    np.testing.assert_allclose(smooth(SCORES), SCORES + 0.5 * expected)


def test_adaptive_leaves_out_what_is_not_finite():
    smooth = adaptive()
    smooth.observe(float("nan"))
    assert smooth.mean is None
    smooth.observe(3.0)
    smooth.observe(float("inf"))
    assert smooth.mean == pytest.approx(3.0)


def test_adaptive_state_goes_on_where_it_was():
    first, second = adaptive(), adaptive()
    first.observe(2.0)
    second.set_state(first.get_state())
    first.observe(1.0)
    second.observe(1.0)
    assert first.mean == second.mean


def test_what_a_user_may_write():
    assert isinstance(SMOOTHINGS.make("adaptive"), adaptive)
    assert SMOOTHINGS.make(0.25).c == 0.25
    assert SMOOTHINGS.make(np.float32(0.25)).c == 0.25
    assert isinstance(SMOOTHINGS.make(adaptive), adaptive)
    assert SMOOTHINGS.make(np.sqrt)(SCORES)[2] == 2
    own = adaptive(0.25)
    resolved = SMOOTHINGS.make(own)
    resolved.observe(3.0)
    assert resolved.fraction == 0.25 and own.mean is None  # what is learnt of one data set stays with it


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SMOOTHINGS.make(-1), r"`smoothing` must be a number >= 0. Received: smoothing=-1"),
        (lambda: SMOOTHINGS.make(float("nan")), r"`smoothing` must be a number >= 0. Received: smoothing=nan"),
        (lambda: additive(float("inf")), r"`smoothing` must be a number >= 0. Received: smoothing=inf"),
        (lambda: adaptive(-0.5), r"`fraction` must be a number >= 0. Received: fraction=-0.5"),
        (lambda: adaptive(0.5, momentum=1.0), r"`momentum` must be a number in \[0, 1\). Received: momentum=1.0"),
        (lambda: adaptive("0.5"), r"`fraction` must be a number >= 0. Received: fraction='0.5'"),
        (lambda: power(-1), r"`a` must be a number >= 0. Received: a=-1"),
        (lambda: SMOOTHINGS.make("adaptve"), r"`smoothing` must be one of adaptive, .*a number.* Received: smoothing='adaptve'"),
    ],
)
def test_bad_values_are_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_negative_mean_takes_nothing_away():
    smooth = adaptive(0.5)
    smooth.observe(-8.0)
    np.testing.assert_allclose(smooth(SCORES), SCORES)
