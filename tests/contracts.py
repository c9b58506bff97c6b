"""What every part must do, whoever wrote it: checks of a kind, each a function of the part's registered name."""

import keras
import numpy as np
import tensorflow as tf

from importance_sampling import (
    ArraySource,
    ImportanceSampler,
    ImportanceSampling,
    ImportanceTraining,
    Pool,
    StepInfo,
    with_indices,
)
from importance_sampling.registry import KINDS
from tests.models import classifier

N, B = 96, 24
RNG = np.random.default_rng(0)
Y = np.arange(N) % 3
X = (RNG.normal(size=(N, 2)) + 2 * np.eye(3)[Y][:, :2]).astype(np.float32)


def made(kind, name):
    return KINDS[kind].make(name)


def built(name):
    """An importance of the data above."""
    importance = made("importance", name)
    importance.bind(classifier())
    importance.build(N, 3, seed=0)
    return importance


def pool_of(indices):
    indices = np.asarray(indices)
    return Pool(indices, Y[indices], lambda rows: (X[indices[rows]], Y[indices[rows]], None))


def learns(importance, steps=3):
    for step in range(steps):
        indices = (np.arange(8) * (step + 1)) % N
        importance.update(indices, Y[indices], np.linspace(0.1, 2.0, 8))


# of an importance


def scores_are_one_number_for_each_candidate(name):
    importance = built(name)
    for _ in range(2):
        scores = np.asarray(importance.score(pool_of(np.arange(0, N, 2))), float)
        assert scores.shape == (N // 2,) and np.all(np.isfinite(scores))
        learns(importance)


def what_an_update_may_be_given_does_no_harm(name):
    """NaN, infinity, an index several times, a class not seen before, nothing that is known."""
    importance = built(name)
    learns(importance)
    indices = np.array([5, 5, 5, 6, 7, 8, 8, 1])
    importance.update(indices, Y[indices], np.array([np.nan, 1.0, 2.0, 0.0, np.inf, 1.0, 1.0, 1.0]))
    importance.update(indices, Y[indices], np.full(8, np.nan))
    assert np.all(np.isfinite(importance.score(pool_of(np.arange(N // 2) // 2))))


def a_state_goes_on_where_it_was(name):
    importance, twin = built(name), built(name)
    learns(importance)
    twin.set_state(importance.get_state())
    for one in (importance, twin):
        learns(one, steps=1)
    if name not in ("oracle", "gnorm", "full_gnorm"):  # whose state is that of the model
        np.testing.assert_array_equal(*(one.score(pool_of(np.arange(N // 2))) for one in (importance, twin)))


def the_object_that_was_registered_learns_nothing(name):
    """Every sampler works with a part of its own."""
    draws = []
    for _ in range(2):
        model = classifier()
        training = ImportanceTraining(model, name, presample=48, seed=0, on_step=lambda draw, _: draws[-1].append(draw.indices))
        draws.append([])
        keras.utils.set_random_seed(0)
        training.fit(X, Y, batch_size=B, epochs=2, verbose=0)
    np.testing.assert_array_equal(draws[0][0], draws[1][0])


# of a smoothing


def smoothed_scores_are_numbers_from_0_on(name):
    smoothing = made("smoothing", name)
    for mean in (None, 0.5, float("nan"), -1.0, 2.0):
        if mean is not None:
            smoothing.observe(mean)
        for scores in (np.zeros(4), np.array([0.0, 1e-9, 1.0, 1e9]), np.ones(1)):
            found = smoothing(scores.copy())
            assert np.shape(found) == scores.shape and np.all(np.isfinite(found)) and np.all(found >= 0)


def a_smoothing_keeps_the_order(name):
    smoothing = made("smoothing", name)
    smoothing.observe(1.0)
    assert np.all(np.diff(smoothing(np.array([0.0, 0.5, 1.0, 7.0]))) >= 0)


def the_state_of_a_smoothing_goes_on_where_it_was(name):
    smoothing, twin = made("smoothing", name), made("smoothing", name)
    smoothing.observe(3.0)
    twin.set_state(smoothing.get_state())
    np.testing.assert_array_equal(smoothing(np.arange(4.0)), twin(np.arange(4.0)))


# of a drawing rule


def expected_counts_are_true(name):
    """4,000 draws of each of three distributions: the mean count of each candidate is what was expected, within 5 standard errors.

    A rule without replacement that claimed b p_i would be off by 20 of them.
    """
    rng = np.random.default_rng(1)
    for scores, b in ((np.array([0.6, 0.2, 0.1, 0.06, 0.04]), 3), (np.full(6, 1 / 6), 4), (np.array([0.5, 0.5, 0.0, 0.0]), 2)):
        counts = []
        for _ in range(4000):
            chosen, expected = made("draws", name).draw(scores.copy(), b, rng)
            assert np.shape(chosen) == (b,) and np.shape(expected) == scores.shape
            counts.append(np.bincount(chosen, minlength=len(scores)))
        counts = np.array(counts)
        np.testing.assert_allclose(expected.sum(), b)
        error = 5 * counts.std(axis=0) / np.sqrt(4000) + 1e-9
        assert np.all(np.abs(counts.mean(axis=0) - expected) <= error), (counts.mean(axis=0), expected)


def a_seed_gives_the_same_draw(name):
    scores = np.linspace(1, 2, 9) / np.linspace(1, 2, 9).sum()
    draws = [made("draws", name).draw(scores, 4, np.random.default_rng(seed))[0] for seed in (1, 1, 2, 3, 4)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert len({tuple(sorted(one)) for one in draws}) > 1


def weighted_gradients_are_those_of_the_data(name):
    """At k = 1 the mean of alpha_i g_i over many draws is the mean gradient: within 5 standard errors in every direction; without
    weights it is off by more than 20."""
    rng = np.random.default_rng(2)
    gradients = rng.normal(size=(40, 5)) + 1.0
    gradients[:10] *= 5
    scores = np.linalg.norm(gradients, axis=1)
    sampler = ImportanceSampler(
        ArraySource(np.zeros((40, 1)), np.zeros(40)), lambda pool: scores[pool.indices], k=1.0, smoothing=0.2, draws=name, seed=3
    )
    weighted, plain = [], []
    for _ in range(4000):
        draw = sampler.draw(8)
        weighted.append(draw.weights @ gradients[draw.indices] / 8)
        plain.append(gradients[draw.indices].mean(axis=0))
    errors = [
        np.abs(np.mean(found, axis=0) - gradients.mean(axis=0)) / (np.std(found, axis=0) / np.sqrt(4000))
        for found in (weighted, plain)
    ]
    assert errors[0].max() < 5 and errors[1].max() > 20


# of pools


def pools_have_as_many_different_samples_as_asked(name):
    pools, rng = made("pools", name), np.random.default_rng(0)
    pools.build(10)
    seen = set()
    for count in (3, 10, 1, 7, 7, 10):
        indices = pools.next(count, rng)
        assert indices.shape == (count,) and indices.dtype.kind == "i"
        assert indices.min() >= 0 and indices.max() < 10
        seen |= set(indices)
    assert seen == set(range(10))


def the_state_of_pools_goes_on_where_it_was(name):
    pools, twin = made("pools", name), made("pools", name)
    for one in (pools, twin):
        one.build(10)
    pools.next(4, np.random.default_rng(0))
    twin.set_state(pools.get_state())
    np.testing.assert_array_equal(pools.next(9, np.random.default_rng(1)), twin.next(9, np.random.default_rng(1)))


# of a reweighting


def weights_are_unbiased_at_k_1(name):
    expected = np.array([0.3, 0.7, 1.0, 2.0])
    chosen = np.array([0, 1, 2, 3])
    np.testing.assert_allclose(made("reweighting", name).weights(expected, chosen, 1.0), 4 / (4 * expected), rtol=1e-9)


def weights_are_numbers_for_every_k(name):
    expected = np.array([1e-9, 0.5, 1.0, 2.5 - 1e-9])
    for k in (1, 0.5, 0.0, -1.0, -50.0):
        weights = np.asarray(made("reweighting", name).weights(expected, np.array([0, 0, 3, 2]), k))
        assert weights.shape == (4,) and np.all(np.isfinite(weights)) and np.all(weights >= 0)


# of a batch-size rule


def batch_sizes_are_of_the_pool_and_as_announced(name):
    rule = made("batch_size_rule", name)
    for batch_size in (1, 7, 32):
        sizes = rule.sizes(batch_size)
        for step in (0, 1, 5, 50, 10_000):
            for scores in (None, np.full(64, 1 / 64)):
                b = rule.batch_size(StepInfo(step, batch_size, 64, scores))
                assert isinstance(b, (int, np.integer)) and 1 <= b <= 64 and (sizes is None or b in sizes)


# of every kind


def works_by_name_everywhere(kind, name):
    """In `ImportanceTraining`, in the callback and in the sampler; an epoch has as many updates as with plain `fit`."""
    given = {"importance": "pcg", "seed": 0, kind: name}
    model = classifier()
    before = model.evaluate(X, Y, verbose=0)
    history = ImportanceTraining(model, presample=48, **given).fit(X, Y, batch_size=B, epochs=8, verbose=0)
    assert int(model.optimizer.iterations) == 8 * N // B
    assert np.all(np.isfinite(history.history["loss"])) and model.evaluate(X, Y, verbose=0) < before
    own = {kind: bound(name)} if kind == "importance" else {}
    sampler = ImportanceSampler(ArraySource(X, Y), presample=48, **{**given, **own})
    for _ in range(3):
        draw = sampler.draw(12)
        sampler.update(draw, np.ones(len(draw)), np.ones(len(draw)))
    if kind != "pools":
        model, data = classifier(), tf.data.Dataset.from_tensor_slices((X, Y))
        data = with_indices(data) if made("importance", given["importance"]).uses_indices else data
        model.fit(data.batch(48), shuffle=False, epochs=2, callbacks=[ImportanceSampling(B, **given)], verbose=0)
        assert int(model.optimizer.iterations) == 2 * N // 48


def bound(name):
    """An importance for a sampler, which knows of no model."""
    importance = made("importance", name)
    importance.bind(classifier())
    return importance


CONTRACTS = {
    "importance": [
        scores_are_one_number_for_each_candidate,
        what_an_update_may_be_given_does_no_harm,
        a_state_goes_on_where_it_was,
        the_object_that_was_registered_learns_nothing,
    ],
    "smoothing": [
        smoothed_scores_are_numbers_from_0_on,
        a_smoothing_keeps_the_order,
        the_state_of_a_smoothing_goes_on_where_it_was,
    ],
    "draws": [expected_counts_are_true, a_seed_gives_the_same_draw, weighted_gradients_are_those_of_the_data],
    "pools": [pools_have_as_many_different_samples_as_asked, the_state_of_pools_goes_on_where_it_was],
    "reweighting": [weights_are_unbiased_at_k_1, weights_are_numbers_for_every_k],
    "batch_size_rule": [batch_sizes_are_of_the_pool_and_as_announced],
}


def cases(names):
    """Every check of every kind for the names `names(kind)`, with the check of all kinds, as parameters of a test."""
    found = []
    for kind, checks in CONTRACTS.items():
        for name in names(kind):
            found += [(check, (name,)) for check in checks] + [(works_by_name_everywhere, (kind, name))]
    return found


def id_of(value):
    return value.__name__ if callable(value) else "-".join(value)
