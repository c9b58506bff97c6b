"""The sampler: what it draws, what the weights make of the gradient, and that it goes on from a saved state."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import (
    ArraySource,
    Importance,
    ImportanceSampler,
    LSTMImportance,
    Oracle,
    PerClassGaussian,
    Uniform,
    adaptive,
    additive,
    power,
    registered,
)
from tests.models import classifier


class Given(Importance):
    """Scores by heart: one for each sample of the data set."""

    def __init__(self, scores):
        self.scores = np.asarray(scores, float)
        self.updates = []

    def score(self, pool):
        return self.scores[pool.indices]

    def update(self, indices, labels, values):
        self.updates.append((indices, values))


def source(n):
    return ArraySource(np.zeros((n, 1)), np.zeros(n))


def flat(tensors):
    return np.concatenate([np.asarray(t).ravel() for t in tensors])


def gradients_of_each(model, x, y):
    """`(N, P)`: the gradient of every sample's loss."""
    rows = []
    for i in range(len(x)):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x=x[i : i + 1], y=y[i : i + 1], y_pred=model(x[i : i + 1]))
        rows.append(flat(tape.gradient(loss, [v.value for v in model.trainable_variables])))
    return np.array(rows)


@pytest.fixture
def problem(blobs):
    """A Keras model, 40 samples, the gradient of each and its loss."""
    x, y = blobs[0][:40], blobs[1][:40]
    model = classifier()
    losses = np.asarray(keras.losses.sparse_categorical_crossentropy(y, model(x)))
    return gradients_of_each(model, x, y), losses


@pytest.mark.parametrize("draws", registered("draws"))
@pytest.mark.parametrize("pools", ["random", "permutation"])
@pytest.mark.parametrize("reweighting", ["rescaled", "literal"])
def test_k_1_gives_the_gradient_of_the_whole_data(problem, draws, pools, reweighting):
    """The mean of alpha_i g_i over 64,000 samples is the full-batch gradient within 2 % of its norm.

    The standard error is 0.3 to 0.6 % of the norm here; without weights the mean is off by 40 %.
    """
    gradients, losses = problem
    sampler = ImportanceSampler(
        source(40),
        Given(losses),
        k=1.0,
        smoothing=0.1,
        presample=20,
        draws=draws,
        pools=pools,
        reweighting=reweighting,
        seed=1,
    )
    full = gradients.mean(axis=0)
    total, plain = np.zeros_like(full), np.zeros_like(full)
    for _ in range(8000):
        draw = sampler.draw(8)
        total += draw.weights @ gradients[draw.indices] / 8
        plain += gradients[draw.indices].mean(axis=0)
    norm = np.linalg.norm(full)
    assert np.linalg.norm(total / 8000 - full) < 0.02 * norm
    assert np.linalg.norm(plain / 8000 - full) > 0.2 * norm  # the test can tell


@pytest.mark.parametrize("k", [0.5, 0.0, -1.0])
@pytest.mark.parametrize("reweighting", ["rescaled", "literal"])
def test_k_below_1_gives_the_gradient_of_a_power_of_the_loss(problem, k, reweighting):
    """eq. 16: the mean of alpha_i g_i points along the gradient of sum L_i^(2 - k), and not along that of sum L_i."""
    gradients, losses = problem
    sampler = ImportanceSampler(source(40), Given(losses), k=k, smoothing=0.0, presample=40, reweighting=reweighting, seed=1)
    total = np.zeros(gradients.shape[1])
    for _ in range(4000):
        draw = sampler.draw(16)
        total += draw.weights @ gradients[draw.indices] / 16 / 4000
    of_power = ((2 - k) * losses[:, None] ** (1 - k) * gradients).mean(axis=0)
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)  # noqa: E731
    assert cosine(total, of_power) > 0.9995
    assert cosine(total, gradients.mean(axis=0)) < cosine(total, of_power) - 1e-3
    p = losses / losses.sum()
    if reweighting == "literal":  # the length too, eq. 14
        expected = (p ** (1 - k)) @ gradients / 40
        assert np.linalg.norm(total - expected) < 0.03 * np.linalg.norm(expected)


def test_weights_belong_to_the_probabilities_that_were_drawn_with():
    scores = np.arange(1.0, 31.0)
    sampler = ImportanceSampler(source(30), Given(scores), k=1.0, smoothing=2.0, presample=30, seed=0)
    draw = sampler.draw(10)
    p = (scores + 2) / (scores + 2).sum()
    np.testing.assert_allclose(draw.expected, 10 * p[draw.indices])
    np.testing.assert_allclose(draw.pool_expected[np.argsort(draw.pool_indices)], 10 * p)
    np.testing.assert_allclose(draw.weights, 1 / (30 * p[draw.indices]), rtol=1e-6)
    np.testing.assert_allclose(draw.scores, scores[draw.indices])
    assert draw.pool_size == 30


def test_a_pool_as_small_as_the_batch_is_not_scored():
    class Unscored(Given):
        def score(self, pool):
            raise AssertionError("there is nothing to choose")

    draw = ImportanceSampler(source(30), Unscored(np.ones(30)), presample=10, seed=0).draw(10)
    np.testing.assert_array_equal(draw.weights, 1)
    assert len(set(draw.indices)) == 10


def test_a_presample_above_the_data_means_all_of_it():
    draw = ImportanceSampler(source(30), Given(np.ones(30)), presample=1000, seed=0).draw(10)
    assert draw.pool_size == 30
    np.testing.assert_allclose(draw.expected, 10 / 30)


def test_uniform_walks_permutations():
    sampler = ImportanceSampler(source(10), "uniform", seed=0)
    drawn = np.concatenate([sampler.draw(3).indices for _ in range(20)])  # 6 passes over the data
    passes = drawn.reshape(6, 10)
    for one in passes:
        assert sorted(one) == list(range(10))
    assert len({tuple(one) for one in passes}) == 6


def test_permutation_pools_offer_every_sample_equally_often():
    offered = np.zeros(30)

    class Counting(Given):
        def score(self, pool):
            np.add.at(offered, pool.indices, 1)
            return super().score(pool)

    sampler = ImportanceSampler(source(30), Counting(np.ones(30)), presample=7, pools="permutation", seed=0)
    for _ in range(30):
        sampler.draw(3)
    np.testing.assert_array_equal(offered, 7)


def test_random_pools_are_uniform():
    """20,000 pools of 5 of 12: each sample is offered 5/12 of the time, within 4 standard errors."""
    from importance_sampling.sampling.pools import RandomPools

    rng, pools = np.random.default_rng(0), RandomPools()
    pools.build(12)
    drawn = np.array([pools.next(5, rng) for _ in range(20_000)])
    assert all(len(set(pool)) == 5 for pool in drawn[:200])
    share = np.bincount(drawn.ravel(), minlength=12) / 20_000
    np.testing.assert_allclose(share, 5 / 12, atol=4 * np.sqrt(5 / 12 * 7 / 12 / 20_000))


def test_sequential_pools_keep_the_order():
    sampler = ImportanceSampler(source(5), "uniform", pools="sequential", seed=0)
    assert [list(sampler.draw(2).indices) for _ in range(3)] == [[0, 1], [2, 3], [4, 0]]


IMPORTANCES = {
    "uniform": lambda model: Uniform(),
    "oracle": lambda model: Oracle(model),
    "oracle gnorm": lambda model: Oracle(model, quantity="gnorm"),
    "oracle full_gnorm": lambda model: Oracle(model, quantity="full_gnorm"),
    "approx": lambda model: LSTMImportance(history=3, units=4, jit_compile=False),
    "approx gnorm": lambda model: LSTMImportance(history=3, units=4, quantity="gnorm", jit_compile=False),
    "pcg": lambda model: PerClassGaussian(),
    "pcg gnorm": lambda model: PerClassGaussian(quantity="gnorm"),
}
SMOOTHINGS = {"constant": lambda: additive(0.3), "none": lambda: 0.0, "adaptive": adaptive, "power": lambda: power(0.5)}


@pytest.mark.parametrize("smoothing", SMOOTHINGS.values(), ids=SMOOTHINGS)
@pytest.mark.parametrize("importance", IMPORTANCES.values(), ids=IMPORTANCES)
def test_every_importance_with_every_smoothing(blobs, importance, smoothing):
    """Draws are of the pool, weights are eq. 12 of the recorded p, and a saved state goes on bit for bit."""
    x, y = blobs
    model = classifier()

    def make():
        return ImportanceSampler(ArraySource(x, y), importance(model), k=0.5, smoothing=smoothing(), presample=60, seed=3)

    def step(sampler):
        draw = sampler.draw(20)
        hard = 0.1 + 2.0 * (draw.labels == 2 if draw.labels is not None else draw.indices % 3 == 2)
        sampler.update(draw, losses=hard, gnorms=hard / 2)
        return draw

    sampler = make()
    for _ in range(30):
        draw = step(sampler)
        assert draw.indices.shape == draw.weights.shape == draw.expected.shape == draw.scores.shape == (20,)
        assert draw.weights.dtype == np.float32 and np.all(np.isfinite(draw.weights)) and np.all(draw.weights > 0)
        ratio = draw.weights * draw.expected**0.5  # the same for all samples of a pool
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    if "pcg" in {name for name, make_one in IMPORTANCES.items() if make_one is importance}:
        shares = np.bincount(np.concatenate([step(sampler).labels for _ in range(30)]), minlength=3) / 600
        assert shares[2] > 0.4  # the hard class, a third of the data

    twin = make()
    twin.set_state(sampler.get_state())
    for _ in range(3):
        ours, theirs = step(sampler), step(twin)
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        np.testing.assert_array_equal(ours.weights, theirs.weights)


def test_the_same_seed_gives_the_same_draws_and_leaves_the_global_state_alone():
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draws = [
        [ImportanceSampler(source(50), Given(np.arange(50)), presample=30, seed=seed).draw(10).indices for _ in range(2)]
        for seed in (1, 2)
    ]
    np.testing.assert_array_equal(draws[0][0], draws[0][1])
    assert not np.array_equal(draws[0][0], draws[1][0])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_scores_that_are_not_finite_fall_back_to_uniform_with_one_warning():
    scores = np.ones(30)
    scores[4] = np.nan
    sampler = ImportanceSampler(source(30), Given(scores), smoothing=0.0, presample=30, seed=0)
    with pytest.warns(RuntimeWarning, match="Received: nan among 30 scores") as caught:
        draws = [sampler.draw(10) for _ in range(3)]
    assert len(caught) == 1
    for draw in draws:
        np.testing.assert_allclose(draw.expected, 10 / 30)
        np.testing.assert_allclose(draw.weights, 1)


@pytest.mark.parametrize("scores", [np.where(np.arange(30) % 2, 1e308, 0.0), np.full(30, -1.0), np.full(30, np.inf)])
def test_extreme_scores_give_probabilities(scores):
    """Large ones are still drawn in proportion; those that mean nothing are drawn uniformly."""
    sampler = ImportanceSampler(source(30), Given(scores), smoothing=power(1.0), presample=30, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        draw = sampler.draw(10)
    np.testing.assert_allclose(draw.expected, 10 / 15 if scores[0] == 0 else 10 / 30)


def test_scores_that_are_all_zero_are_uniform():
    draw = ImportanceSampler(source(30), Given(np.zeros(30)), smoothing=0.0, presample=30, seed=0).draw(10)
    np.testing.assert_allclose(draw.weights, 1)


def test_adaptive_smoothing_follows_the_mean_over_the_data_and_not_over_the_draws():
    """Losses 0 and 10, half and half: drawing mostly the 10s must not raise the mean above 5 (within 4 standard errors)."""
    losses = np.where(np.arange(200) % 2, 10.0, 0.0)
    sampler = ImportanceSampler(source(200), Given(losses), k=0.5, smoothing=adaptive(0.1, momentum=0.999), presample=200, seed=0)
    share = 0
    for _ in range(400):
        draw = sampler.draw(50)
        sampler.update(draw, losses[draw.indices])
        share += losses[draw.indices].mean() / 10 / 400
    assert share > 0.9
    assert sampler.smoothing.mean == pytest.approx(5.0, abs=0.1)


def test_update_passes_on_the_quantity_of_the_importance():
    losses, gnorms = np.arange(5.0), np.arange(5.0) / 2
    for quantity, expected in (("loss", losses), ("gnorm", gnorms), ("full_gnorm", None)):
        importance = Given(np.arange(20) + 1.0)
        importance.quantity = quantity
        sampler = ImportanceSampler(source(20), importance, presample=20, seed=0)
        draw = sampler.draw(5)
        sampler.update(draw, losses, gnorms)
        indices, values = importance.updates[0]
        np.testing.assert_array_equal(indices, draw.indices)
        np.testing.assert_array_equal(values, draw.scores if expected is None else expected)


def test_a_users_own_loop(blobs):
    """The documented loop: a plain GradientTape, losses of the draw given back."""
    x, y = blobs
    model = classifier()
    optimizer = keras.optimizers.SGD(0.5)
    each = keras.losses.SparseCategoricalCrossentropy(reduction=None)
    sampler = ImportanceSampler(
        ArraySource(x, y), importance=LSTMImportance(history=3, units=4, jit_compile=False), presample=100, seed=0
    )
    start = np.mean(each(y, model(x)))
    for _ in range(100):
        draw = sampler.draw(20)
        with tf.GradientTape() as tape:
            losses = each(y[draw.indices], model(x[draw.indices], training=True))
            loss = tf.reduce_mean(draw.weights * losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        sampler.update(draw, losses)
    assert np.mean(each(y, model(x))) < 0.6 * start


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            dict(importance="aprox"),
            "`importance` must be one of pcg, approx, .*, uniform, .* Received: importance='aprox'",
        ),
        (dict(importance="oracle"), r"`importance` must be Oracle\(model\) here, where no model is trained"),
        (dict(importance=3), "`importance` must be one of .* Received: importance=3"),
        (dict(k=1.5), "`k` must be a number <= 1, and finite .* Received: k=1.5"),
        (dict(k=float("nan")), "`k` must be a number <= 1, and finite .* Received: k=nan"),
        (dict(smoothing=-1), "`smoothing` must be a number >= 0. Received: smoothing=-1"),
        (dict(presample=0), "`presample` must be None or a whole number >= 1. Received: presample=0"),
        (dict(presample=10.5), "`presample` must be None or a whole number >= 1. Received: presample=10.5"),
        (
            dict(draws="sequential"),
            "`draws` must be one of multinomial, systematic, without_replacement, .* Received: draws='sequential'",
        ),
        (dict(pools="all"), "`pools` must be one of random, permutation, sequential, .* Received: pools='all'"),
        (dict(reweighting="none"), "`reweighting` must be one of rescaled, literal, .* Received: reweighting='none'"),
    ],
)
def test_bad_arguments_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        ImportanceSampler(source(20), **{"importance": "pcg", "presample": 10, **arguments})


@pytest.mark.parametrize(
    ("batch_size", "text"),
    [
        (0, "`batch_size` must be a whole number >= 1. Received: batch_size=0"),
        (21, "`batch_size` must be at most the number of samples, 20. Received: batch_size=21"),
        (15, "`presample` must be >= batch_size, 15: the batch is chosen from it. Received: presample=10"),
    ],
)
def test_bad_batch_sizes_are_named(batch_size, text):
    with pytest.raises(ValueError, match=text):
        ImportanceSampler(source(20), "pcg", presample=10).draw(batch_size)


def test_bad_updates_are_named():
    sampler = ImportanceSampler(source(20), PerClassGaussian(quantity="gnorm"), presample=10, seed=0)
    draw = sampler.draw(5)
    with pytest.raises(ValueError, match="`gnorms` must be given"):
        sampler.update(draw, np.ones(5))
    with pytest.raises(ValueError, match=r"`gnorms` must have shape \(5,\). Received: gnorms.shape=\(4,\)"):
        sampler.update(draw, np.ones(5), np.ones(4))
