"""The variance ratio against second moments that are known, and batches of equal variance."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import (
    ArraySource,
    ConstantVarianceImportanceTraining,
    EqualVariance,
    ImportanceSampler,
    ImportanceSampling,
    ImportanceTraining,
    StepInfo,
    adaptive,
    with_indices,
)
from tests.models import classifier

N, B = 400, 40
RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(size=(N, 3)) * RNG.exponential(size=(N, 1)) ** 2  # a few are large
NORMS = np.linalg.norm(GRADIENTS, axis=1)
SCORES = NORMS * RNG.uniform(0.5, 2.0, N) + 0.2 * NORMS.mean()  # a prediction that is off by up to 2


def sampler_by(scores, **settings):
    arguments = {"k": 1.0, "smoothing": 0.0, "presample": N, "seed": 0, **settings}
    return ImportanceSampler(ArraySource(np.zeros((N, 1)), np.zeros(N)), lambda pool: scores[pool.indices], **arguments)


def run(sampler, steps):
    draws = []
    for _ in range(steps):
        draws.append(sampler.draw(B))
        sampler.update(draws[-1], NORMS[draws[-1].indices])
    return draws


@pytest.mark.parametrize("draws", ["multinomial", "systematic"])
@pytest.mark.parametrize("scores", [SCORES, np.ones(N)], ids=["by importance", "uniform"])
def test_the_ratio_is_that_of_the_second_moments(scores, draws):
    """p is known, so E[(g / q)^2] / E[g^2] is. 2,000 steps, of which the last some 400 count: within 6 %; uniform is exactly 1."""
    sampler = sampler_by(scores, draws=draws)
    run(sampler, 99)
    assert sampler.variance_ratio is None
    run(sampler, 1901)
    q = N * scores / scores.sum()
    assert sampler.variance_ratio == pytest.approx(np.mean(NORMS**2 / q) / np.mean(NORMS**2), rel=0.06)
    assert np.all(scores == 1) or sampler.variance_ratio < 0.6


@pytest.mark.parametrize("draws", ["multinomial", "systematic"])
def test_batches_of_equal_variance_have_that_of_uniform_ones(draws):
    """The mean squared error of 3,000 weighted gradients, of about half of the samples, against b of b drawn uniformly with
    replacement; each is known to about 4 %."""
    sampler = sampler_by(SCORES, draws=draws, batch_size_rule="equal-variance")
    run(sampler, 300)
    taken = run(sampler, 3000)
    mean = GRADIENTS.mean(axis=0)
    error = np.mean([np.sum((np.mean(d.weights[:, None] * GRADIENTS[d.indices], axis=0) - mean) ** 2) for d in taken])
    uniform = np.mean(np.sum((GRADIENTS - mean) ** 2, axis=1)) / B
    assert np.mean([len(draw) for draw in taken]) < 0.7 * B
    assert error < 1.1 * uniform


@pytest.mark.parametrize("k,noisier", [(1.0, False), (0.5, True)])
def test_with_smaller_k_batches_are_as_large_and_the_gradient_is_noisier(k, noisier):
    """The variance of 3,000 weighted gradients around their own mean, each to about 4 %, where no batch is at the least size."""
    unbiased, other = (
        run(sampler_by(SCORES, k=one, batch_size_rule=EqualVariance(tuple(i / 40 for i in range(1, 40)))), 3300) for one in (1.0, k)
    )
    assert [len(draw) for draw in other] == [len(draw) for draw in unbiased]
    found = [np.mean(draw.weights[:, None] * GRADIENTS[draw.indices], axis=0) for draw in other[300:]]
    assert (np.sum(np.var(found, axis=0)) > 1.08 * np.sum(np.var(GRADIENTS, axis=0)) / B) == noisier


@pytest.mark.parametrize("given,k", [({}, 1.0), ({"k": 0.5}, 0.5)])
def test_weights_are_unbiased_where_no_k_is_given(given, k):
    data = ArraySource(np.zeros((N, 1)), np.zeros(N))
    assert ImportanceSampler(data, "history", batch_size_rule="equal-variance", **given).k == k
    assert ImportanceSampler(data, "history").k == 0.5 and ImportanceTraining(classifier(), "auto")._settings.k == 1.0


def test_what_was_noisier_long_ago_is_not_told():
    """A mean over past steps that comes down to 1 for ever is that of uniform draws."""
    rule = EqualVariance()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {rule.batch_size(StepInfo(step, 128, 1024, None, 1 + 0.99**step)) for step in range(464, 2000)} == {128}


def test_what_makes_it_noisier_is_told_once_and_leaves_the_batch():
    sampler = sampler_by(1 / (NORMS + 0.1), batch_size_rule="equal-variance")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(sampler, 299)
    with pytest.warns(RuntimeWarning, match=r"The importance does not pay here: .* a variance ratio of .* at step 299"):
        run(sampler, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(len(draw) == B for draw in run(sampler, 250))


def test_the_sizes_are_a_few():
    rule = EqualVariance()
    assert rule.sizes(128) == tuple(range(32, 129, 8)) and rule.sizes(1) == (1,) and rule.sizes(3) == (1, 2, 3)
    for ratio, size in (
        (1e-9, 32),
        (0.25, 32),
        (0.2501, 40),
        (0.5, 64),
        (0.51, 72),
        (0.76, 104),
        (0.88, 120),
        (0.94, 128),
        (3.0, 128),
        (None, 128),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert rule.batch_size(StepInfo(200, 128, 1024, None, ratio)) == size
    for fractions in ((), (0.5, 1.0), (0.0,)):
        with pytest.raises(ValueError, match=r"`fractions` must be numbers in \(0, 1\), at least one. Received: fractions="):
            EqualVariance(fractions)


def test_a_state_has_the_ratio():
    one, other = (sampler_by(SCORES, batch_size_rule="equal-variance") for _ in range(2))
    run(one, 150)
    other.set_state(one.get_state())
    assert other.variance_ratio == one.variance_ratio is not None
    for draw, twin in zip(run(one, 10), run(other, 10)):
        np.testing.assert_array_equal(draw.indices, twin.indices)


def small_mnist_model():
    layers = [keras.layers.Flatten(), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential([keras.Input((28, 28, 1)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_training_takes_fewer_samples_in_as_many_updates(mnist):
    x, y = mnist
    model, sizes = small_mnist_model(), []
    training = ConstantVarianceImportanceTraining(model, seed=0, on_step=lambda draw, losses: sizes.append(len(draw)))
    history = training.fit(x, y, batch_size=40, epochs=12, verbose=0)
    assert int(model.optimizer.iterations) == len(sizes) == 600
    assert (
        set(sizes[:100]) == {40}
        and set(sizes) <= {10, 13, 15, 18, 20, 23, 25, 28, 30, 33, 35, 38, 40}
        and np.mean(sizes[300:]) < 32
    )
    assert training.sampler.variance_ratio < 0.7
    assert history.history["loss"][-1] < 0.3 * history.history["loss"][0]


def test_the_callback_too(mnist):
    x, y = mnist
    model, sizes = small_mnist_model(), []
    callback = ImportanceSampling(
        40,
        "history",
        k=1.0,
        smoothing=adaptive(0.2),
        batch_size_rule="equal-variance",
        seed=0,
        on_step=lambda draw, losses: sizes.append(len(draw)),
    )
    data = with_indices(tf.data.Dataset.from_tensor_slices((x, y))).repeat(4).batch(160)
    model.fit(data, epochs=8, shuffle=False, callbacks=[callback], verbose=0)
    assert len(sizes) == 400 and np.mean(sizes[300:]) < 36


@pytest.mark.parametrize(
    ("importance", "arrays", "batches"), [("history", 3000, 1024), ("pcg", 3000, 1024), ("oracle", 96, 96), ("approx", 3000, 1024)]
)
def test_pools_are_wide_where_scores_are_free_and_narrow_where_they_are_dear(importance, arrays, batches):
    x, y = np.random.default_rng(0).normal(size=(3000, 2)).astype("float32"), np.arange(3000) % 3
    sizes = []
    on_step = lambda draw, losses: sizes.append(draw.pool_size)  # noqa: E731
    ImportanceTraining(classifier(), importance, seed=0, on_step=on_step).fit(x, y, steps_per_epoch=1, verbose=0)
    ImportanceTraining(classifier(), importance, seed=0, on_step=on_step).fit(x, y, batch_size=8, steps_per_epoch=1, verbose=0)
    data = with_indices(tf.data.Dataset.from_tensor_slices((x, y))).batch(32)
    ImportanceTraining(classifier(), importance, seed=0, on_step=on_step).fit(data, steps_per_epoch=1, verbose=0)
    assert sizes == [min(arrays, 64 * 32), {"history": 512, "pcg": 512, "oracle": 24, "approx": 512}[importance], batches]
