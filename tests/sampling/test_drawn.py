"""Batches that are drawn several at once from one pool are each what a batch drawn alone is."""

import numpy as np
import pytest

from importance_sampling import (
    ArraySource,
    HistoryImportance,
    Importance,
    ImportanceSampler,
    ImportanceTraining,
    StepInfo,
    registered,
)
from importance_sampling.importance.gaussian import PerClassGaussian
from tests.models import classifier

N, B = 640, 8
SCORES = np.random.default_rng(0).exponential(size=N) + 0.05


class Known(Importance):
    """Scores that are known, drawn ahead."""

    draws_ahead = 8
    asked = 0

    def score(self, pool):
        self.asked += 1
        return SCORES[pool.indices]

    def update(self, indices, labels, values):
        pass


def sampler_of(importance=Known, **settings):
    source = ArraySource(np.zeros((N, 1), np.float32), np.arange(N) % 3)
    return ImportanceSampler(source, importance, **{"k": 1.0, "smoothing": 0.0, "presample": N, "seed": 0, **settings})


def test_scores_are_asked_for_once_in_so_many_steps():
    """An eighth of the pool at most, so fewer batches from a small pool."""
    for presample, b, times in ((N, B, 10), (N, 2 * B, 16), (N // 2, B, 16), (8 * B - 1, B, 80), (N, N // 2, 80)):
        sampler = sampler_of(presample=presample)
        draws = [sampler.draw(b) for _ in range(80)]
        assert sampler.importance.asked == times, (presample, b)
        assert all(len(draw) == b and draw.pool_size == presample for draw in draws)


@pytest.mark.parametrize("draws", registered("draws"))
def test_each_of_the_batches_has_the_expected_counts(draws):
    """Of each turn of 8 in 4,000 pools: counts are within 5 standard errors of those expected, the first turn's as the last's."""
    sampler = sampler_of(draws=draws)
    assert draws not in ("multinomial", "systematic") or sampler.drawing.divisible
    counts, expected, pools = np.zeros((8, N)), np.zeros(N), 4000
    for step in range(8 * pools):
        draw = sampler.draw(B)
        counts[step % 8] += np.bincount(draw.indices, minlength=N)
        expected[draw.pool_indices] += draw.pool_expected / 8
    assert counts.sum() == 8 * pools * B
    error = np.sqrt(expected * (1 + expected / pools)) + 1e-9
    assert np.abs((counts - expected) / error).max() < 5


def test_no_candidate_is_drawn_twice_unless_that_is_expected():
    """The most important sample is expected 0.9 times a batch: in each batch at most once, where 8 batches have it 7.2 times."""
    scores = np.ones(N)
    scores[5] = 0.9 / B * (N - 1) / (1 - 0.9 / B)

    class One(Known):
        def score(self, pool):
            return scores[pool.indices]

    sampler = sampler_of(One)
    draws = [sampler.draw(B) for _ in range(800)]
    assert all(np.bincount(draw.indices).max() == 1 for draw in draws)
    assert np.mean([5 in draw.indices for draw in draws]) == pytest.approx(0.9, abs=0.01)
    assert draws[0].expected.max() == pytest.approx(0.9)


@pytest.mark.parametrize("importance", [HistoryImportance, PerClassGaussian])
def test_by_default_batches_have_no_sample_twice(importance):
    sampler = sampler_of(importance, smoothing="adaptive", presample=None)
    rng = np.random.default_rng(0)
    for _ in range(300):
        draw = sampler.draw(B)
        sampler.update(draw, rng.exponential(size=B), SCORES[draw.indices])
        twice = np.bincount(draw.indices, minlength=N) > 1
        assert not twice.any() or np.all(draw.expected[twice[draw.indices]] > 1)


@pytest.mark.parametrize("rule", ["fixed", "equal-variance"])
@pytest.mark.parametrize("steps", [1, 3, 7, 8, 130])
def test_a_state_between_two_pools_goes_on(steps, rule):
    one, other = (sampler_of("history", smoothing="adaptive", batch_size_rule=rule) for _ in range(2))

    def run(sampler, steps):
        draws = []
        for _ in range(steps):
            draws.append(sampler.draw(B))
            sampler.update(draws[-1], SCORES[draws[-1].indices], SCORES[draws[-1].indices])
        return draws

    run(one, steps)
    run(other, 5)  # which is forgotten
    other.set_state(one.get_state())
    for draw, twin in zip(run(one, 20), run(other, 20)):
        for name in ("indices", "weights", "expected", "scores", "labels", "pool_indices"):
            np.testing.assert_array_equal(getattr(draw, name), getattr(twin, name))
        np.testing.assert_array_equal(draw.read()[1], twin.read()[1])
    if rule == "fixed":
        assert ("waiting" in one.get_state()) == (steps % 8 != 4)  # after 20 more


def test_a_rule_that_wants_another_size_gets_it_at_once():
    sizes = [8, 8, 8, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 8]
    seen = []

    def rule(info: StepInfo):
        seen.append(info.step)
        return sizes[info.step]

    sampler = sampler_of(batch_size_rule=rule)
    assert [len(sampler.draw(8)) for _ in sizes] == sizes
    assert sampler.importance.asked == 4 and sorted(set(seen)) == list(range(len(sizes)))  # at steps 0, 3, 5 and 13


def test_another_batch_size_is_drawn_at_once():
    sampler = sampler_of()
    assert [len(sampler.draw(b)) for b in (8, 8, 4, 4, 8)] == [8, 8, 4, 4, 8]


def test_batches_that_wait_are_not_for_another_batch_size():
    """The first fit leaves some of the eight batches that were drawn at once; the second takes others."""
    x, y = np.zeros((2000, 2), np.float32), np.arange(2000) % 3
    sizes = []
    training = ImportanceTraining(classifier(), "history", seed=0, on_step=lambda draw, _: sizes.append(len(draw)))
    for batch_size in (8, 16):
        training.fit(x, y, batch_size=batch_size, steps_per_epoch=3, verbose=0)
    assert sizes == [8] * 3 + [16] * 3
