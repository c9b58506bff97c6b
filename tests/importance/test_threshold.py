"""tau, below which an oracle scores nothing."""

import keras
import numpy as np
import pytest

from importance_sampling import ArraySource, Draw, ImportanceSampler, ImportanceTraining, Oracle
from importance_sampling.importance.threshold import Gain
from tests.models import classifier

N = 4000
RNG = np.random.default_rng(0)
NORMS = RNG.lognormal(0, 1, N)
TAU = np.sqrt(np.mean(NORMS**2)) / np.mean(NORMS)


@pytest.mark.parametrize("scores", [np.ones(N), NORMS + 0.5, 1 / (NORMS + 0.5)])
def test_tau_is_that_of_the_data_whatever_the_draws(scores):
    """400 draws of 200, of which the last some 20 count: within 8 %."""
    q = N * scores / scores.sum()
    gain = Gain()
    for _ in range(400):
        chosen = RNG.choice(N, 200, p=q / N)
        gain.observe(Draw(chosen, None, q[chosen] * 200 / N, np.ones(200, np.float32), np.ones(200), N), NORMS[chosen])
    assert gain.tau == pytest.approx(TAU, rel=0.08)


def test_equal_norms_have_a_tau_of_one_and_nothing_is_known_at_first():
    gain, draw = Gain(), Draw(np.arange(4), None, np.ones(4), np.ones(4, np.float32), np.ones(4), 4)
    for _ in range(19):
        gain.observe(draw, np.array([2.0, 2.0, np.nan, 2.0]))
    assert gain.tau is None
    gain.observe(draw, np.full(4, np.nan))
    assert gain.tau is None
    gain.observe(draw, np.full(4, 2.0))
    assert gain.tau == 1


class Counting(Oracle):
    """Tells how often it scored."""

    def score(self, pool):
        self.scored = getattr(self, "scored", 0) + 1
        return super().score(pool)


def data():
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    return (np.eye(3)[y][:, :2] * 3 + rng.normal(size=(600, 2))).astype(np.float32), y


def trained(tau, epochs=4, **settings):
    keras.utils.set_random_seed(0)
    model = classifier()
    draws = []
    training = ImportanceTraining(
        model, Counting(quantity="gnorm", tau=tau), seed=0, on_step=lambda draw, _: draws.append(draw), **settings
    )
    training.fit(*data(), batch_size=20, epochs=epochs, verbose=0)
    return training, draws


def test_nothing_is_scored_below_tau_and_batches_are_those_of_uniform_sampling():
    training, draws = trained(tau=100.0)
    assert not hasattr(training.sampler.importance, "scored")
    for epoch in range(4):
        indices = np.concatenate([draw.indices for draw in draws[30 * epoch : 30 * (epoch + 1)]])
        np.testing.assert_array_equal(np.sort(indices), np.arange(600))
    assert training.sampler.importance.gain.tau > 1


def test_scoring_begins_once_tau_is_exceeded():
    training, draws = trained(tau=1.0)
    assert training.sampler.importance.scored == 120 - 20
    assert all(np.all(draw.weights == 1) for draw in draws[:20]) and not np.all(draws[20].weights == 1)
    training, _ = trained(tau=None)
    assert training.sampler.importance.scored == 120


def test_a_state_has_what_was_measured():
    model = classifier()
    x, y = data()
    one, other = (ImportanceSampler(ArraySource(x, y), Oracle(model, tau=1.0), seed=0, presample=60) for _ in range(2))
    for _ in range(25):
        draw = one.draw(20)
        one.update(draw, RNG.random(20))
    other.set_state(one.get_state())
    assert other.importance.gain.tau == one.importance.gain.tau and other.importance.chooses
    np.testing.assert_array_equal(one.draw(20).indices, other.draw(20).indices)


@pytest.mark.parametrize("tau", [0.9, np.nan, np.inf])
def test_bad_thresholds(tau):
    with pytest.raises(ValueError, match="`tau` must be None or a number >= 1"):
        Oracle(tau=tau)


def test_what_only_scores_tell_needs_scores():
    with pytest.raises(ValueError, match="`tau` must be None for quantity='full_gnorm'"):
        Oracle(quantity="full_gnorm", tau=1.5)
