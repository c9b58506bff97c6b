"""Batches that were drawn from one pool at once are learnt from at once, which nobody can tell from learning one by one."""

import copy

import numpy as np
import pytest

from importance_sampling import ArraySource, HistoryImportance, ImportanceSampler, LossHistory
from importance_sampling.importance.base import Importance
from importance_sampling.sampling.learning import together
from importance_sampling.sampling.measures import RunningMoments, second_moments

N, B = 640, 8
LOSSES = np.random.default_rng(0).exponential(size=N)


class OneByOne(HistoryImportance):
    learns_at_once = False


def sampler(importance, **settings):
    return ImportanceSampler(ArraySource(np.zeros((N, 1)), np.arange(N) % 3), importance, k=1.0, seed=0, **settings)


def steps(of, count):
    """Draws of a training in which the loss of a sample is known."""
    for _ in range(count):
        draw = of.draw(B)
        of.update(draw, LOSSES[draw.indices], LOSSES[draw.indices])
        yield draw


def test_learning_at_once_is_learning_one_by_one():
    """Smoothed so much that nothing is drawn twice: then the order within a pool does not matter."""
    at_once, one_by_one = (sampler(importance, smoothing=5.0) for importance in (HistoryImportance(), OneByOne()))
    for one, other in zip(steps(at_once, 300), steps(one_by_one, 300)):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.weights, other.weights)
    np.testing.assert_array_equal(at_once.importance.get_state()["means"], one_by_one.importance.get_state()["means"])
    assert at_once.variance_ratio == one_by_one.variance_ratio


def test_a_state_has_what_waited():
    """After 3 batches of 8 that were drawn at once: a copy and what takes the state go on as if nobody had asked for it."""
    one, undisturbed, other = (sampler(HistoryImportance()) for _ in range(3))
    for of in (one, undisturbed):
        list(steps(of, 3))
    copied = copy.deepcopy(one)
    other.set_state(one.get_state())
    assert len(one.get_state()["learning"]["values"]) == 3
    for draw, *others in zip(*(steps(of, 30) for of in (undisturbed, one, copied, other))):
        for its in others:
            np.testing.assert_array_equal(draw.indices, its.indices)
    for of in (one, copied, other):
        of.close()
    np.testing.assert_equal(other.get_state(), one.get_state())


def test_what_waited_is_not_learnt_after_another_state_was_set():
    one, untouched = sampler(HistoryImportance()), sampler(HistoryImportance())
    before = one.get_state()
    list(steps(one, 3))
    one.set_state(before)
    for draw, other in zip(steps(one, 30), steps(untouched, 30)):
        np.testing.assert_array_equal(draw.indices, other.indices)


def test_the_ratio_is_known_once_the_pool_of_the_hundredth_step_is_done_and_all_is_learnt_at_the_end():
    one = sampler(HistoryImportance())
    list(steps(one, 99))
    assert one.variance_ratio is None
    before = one.get_state()
    assert one.variance_ratio is None  # to look changes nothing
    np.testing.assert_equal(one.get_state(), before)
    list(steps(one, 13))
    assert one.variance_ratio is not None  # the pool that the hundredth was drawn from is done
    one = sampler(HistoryImportance())
    (draw,) = steps(one, 1)
    one.close()
    np.testing.assert_allclose(one.importance._means[draw.indices], LOSSES[draw.indices], rtol=1e-6)


def test_an_importance_that_does_not_ask_for_it_is_told_of_single_batches():
    told = []

    class Told(Importance):
        uses_indices, draws_ahead, pool_batches = True, 8, 64

        def build(self, size, classes, seed):
            self.history = LossHistory(size)

        def score(self, pool):
            return 1.0 + self.history.window(pool.indices)[0][:, 0]

        def update(self, indices, labels, values):
            told.append(indices)
            self.history.append(indices, values)

    drawn = [draw.indices for draw in steps(sampler(Told()), 16)]
    np.testing.assert_array_equal(told, drawn)


def test_draws_together_have_the_moments_of_their_mean():
    draws = list(steps(sampler(HistoryImportance()), 8))
    norms = [LOSSES[draw.indices] for draw in draws]
    one = together(draws)
    assert one.batches == 8 and len(one) == 8 * B
    np.testing.assert_allclose(one.relative, np.concatenate([draw.relative for draw in draws]))
    each = [second_moments(draw, g, draw.relative) for draw, g in zip(draws, norms)]
    np.testing.assert_allclose(second_moments(one, np.concatenate(norms), one.relative), np.mean(each, axis=0))
    single, whole = RunningMoments(2), RunningMoments(2)
    for draw, g in zip(draws, norms):
        single.observe(draw, g, draw.relative)
    whole.observe(one, np.concatenate(norms), one.relative)
    assert whole.get_state()["steps"] == single.get_state()["steps"] == 8
    assert whole.get_state()["moments"] == pytest.approx(single.get_state()["moments"], rel=0.05)
