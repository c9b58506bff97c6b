"""The drop-in callback: importance sampling inside a plain `model.fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceSampling, LSTMImportance, PerClassGaussian, with_indices
from tests.checks import ENDINGS, assert_plain_fit_goes_on, assert_refused, ended_by
from tests.loaders import Batches
from tests.models import classifier


def choices(callback):
    """Keeps every pool and draw of a callback from its first step on."""
    seen, begin = [], callback.on_train_begin

    def on_train_begin(logs=None):
        begin(logs)
        choose = callback.sampler.choose
        callback.sampler.choose = lambda pool, b: seen.append((pool, choose(pool, b))) or seen[-1][1]

    callback.on_train_begin = on_train_begin
    return seen


@pytest.mark.parametrize("importance", ["oracle", "gnorm", "pcg", "uniform"])
@pytest.mark.parametrize("kind", ["arrays", "tf.data", "PyDataset", "generator"])
def test_any_pipeline_trains_on_the_samples_chosen_from_its_batches(blobs, kind, importance):
    """The model after training is that of `train_on_batch` on the chosen samples."""
    x, y = blobs[0][:120], blobs[1][:120]
    data = {
        "arrays": lambda: dict(x=x, y=y, batch_size=40),
        "tf.data": lambda: dict(x=tf.data.Dataset.from_tensor_slices((x, y)).batch(40)),
        "PyDataset": lambda: dict(x=Batches(x, y, 20)),
        "generator": lambda: dict(x=((x[:40], y[:40]) for _ in range(9)), steps_per_epoch=3),
    }[kind]()
    model = classifier(metrics=["accuracy"])
    callback = ImportanceSampling(batch_size=10, importance=importance, seed=0)
    seen = choices(callback)
    history = model.fit(**data, epochs=2, shuffle=False, callbacks=[callback], verbose=0)
    assert list(history.history) == ["accuracy", "loss"]
    assert len(seen) == int(model.optimizer.iterations) == (12 if kind == "PyDataset" else 6)
    assert {(len(pool), len(draw)) for pool, draw in seen} == {(20 if kind == "PyDataset" else 40, 10)}

    keras.utils.set_random_seed(0)
    twin = classifier()
    for _, draw in seen:
        chosen_x, chosen_y, _ = draw.read()
        twin.train_on_batch(chosen_x, chosen_y, sample_weight=draw.weights[:, None])
    for a, b in zip(model.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("importance", ["approx", "pcg"])
def test_an_indexed_data_set_runs_what_keeps_a_history(blobs, importance):
    x, y = blobs
    model = classifier(optimizer=keras.optimizers.SGD(0.0))
    expected = np.asarray(keras.losses.sparse_categorical_crossentropy(y, model(x)))
    own = LSTMImportance(history=2, units=4, jit_compile=False) if importance == "approx" else PerClassGaussian()
    callback = ImportanceSampling(batch_size=20, importance=own, seed=0)
    dataset = with_indices(tf.data.Dataset.from_tensor_slices((x, y))).shuffle(300, seed=1).batch(100)
    if importance == "pcg":  # needs labels, no indices: weights stay weights
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(100)
    model.fit(dataset, epochs=4, shuffle=False, callbacks=[callback], verbose=0)
    if importance == "approx":
        losses, count = callback.sampler.importance.losses.window(np.arange(300))
        assert count.sum() > 150
        for i in np.flatnonzero(count):
            np.testing.assert_allclose(losses[i, : count[i]], expected[i], rtol=1e-4)
    else:
        mean = callback.sampler.importance.mean
        assert mean.shape == (3,) and np.all(np.isfinite(mean))


def test_weights_given_to_fit_count(blobs):
    """With weight 0 for two of three classes, the oracle chooses only the third."""
    x, y = blobs
    callback = ImportanceSampling(batch_size=20, smoothing=0.0, seed=0)
    seen = choices(callback)
    classifier().fit(x, y, batch_size=100, sample_weight=(y == 1).astype("float32"), callbacks=[callback], verbose=0)
    assert all(np.all(draw.read()[1] == 1) for _, draw in seen)


@pytest.mark.parametrize("compiling", [{"steps_per_execution": 2}, {"run_eagerly": True}, {"jit_compile": True}])
def test_modes_of_compile_choose_the_same(blobs, compiling):
    x, y = blobs
    chosen = []
    for options in ({}, compiling):
        keras.utils.set_random_seed(0)
        callback = ImportanceSampling(batch_size=20, seed=0)
        seen = choices(callback)
        classifier(**options).fit(x, y, batch_size=100, shuffle=False, epochs=2, callbacks=[callback], verbose=0)
        chosen.append(np.concatenate([draw.indices for _, draw in seen]))
    np.testing.assert_array_equal(*chosen)


@pytest.mark.parametrize("importance", ["oracle", "uniform"])
def test_all_of_a_last_batch_smaller_than_the_choice_is_trained_on(blobs, importance):
    x, y = blobs[0][:110], blobs[1][:110]
    callback = ImportanceSampling(batch_size=20, importance=importance, reweighting="literal", seed=0)
    seen = choices(callback)
    classifier().fit(x, y, batch_size=50, callbacks=[callback], verbose=0)
    assert [(len(pool), len(draw)) for pool, draw in seen] == [(50, 20), (50, 20), (10, 10)]
    last = seen[-1][1]
    np.testing.assert_array_equal(np.sort(last.indices), np.arange(100, 110))
    np.testing.assert_array_equal(last.weights, np.ones(10))


@pytest.mark.parametrize("error", ENDINGS)
@pytest.mark.parametrize("fitted_before", [False, True])
def test_the_model_is_left_as_it_was_found(blobs, error, fitted_before):
    x, y = blobs
    model = classifier()
    if fitted_before:
        model.fit(x, y, verbose=0)
    found, callback = model.train_function, ImportanceSampling(batch_size=10, seed=0)
    ended_by(error, lambda others: model.fit(x, y, batch_size=50, callbacks=[callback, *others], verbose=0))
    if fitted_before:
        assert model.train_function is found
    assert_plain_fit_goes_on(model, x, y)


def test_an_error_inside_the_step_leaves_the_model_too(blobs):
    x, y = blobs

    class Broken(PerClassGaussian):
        def score(self, pool):
            raise RuntimeError("on purpose")

    model = classifier()
    model.fit(x, y, verbose=0)
    found = model.train_function
    with pytest.raises(RuntimeError, match="on purpose"):
        model.fit(x, y, batch_size=50, callbacks=[ImportanceSampling(10, Broken(), seed=0)], verbose=0)
    assert model.train_function is found


def test_one_callback_on_two_models_scores_by_each(blobs):
    x, y = blobs
    models = [classifier(optimizer=keras.optimizers.SGD(0.0)) for _ in range(2)]
    steps = []
    callback = ImportanceSampling(10, seed=0, on_step=lambda draw, losses: steps.append((draw, losses)))
    for model in models:
        steps.clear()
        model.fit(x, y, batch_size=50, shuffle=False, callbacks=[callback], verbose=0)
        each = np.asarray(keras.losses.sparse_categorical_crossentropy(y, model(x)))
        for i, (draw, losses) in enumerate(steps):
            start = draw.pool_indices[0] - 50 * i
            np.testing.assert_allclose(draw.scores, each[draw.indices - start], rtol=1e-4)
            np.testing.assert_allclose(losses, draw.scores, rtol=1e-4)
        assert len(steps) == 6


def test_an_exception_of_another_callback_just_before_a_step_does_no_harm_later(blobs):
    x, y = blobs

    class Early(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    model, callback = classifier(), ImportanceSampling(10, seed=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=50, callbacks=[callback, Early()], verbose=0)
    model.fit(x, y, batch_size=50, callbacks=[callback], verbose=0)
    assert "importance_sampling" not in model.train_function.__module__
    before = int(model.optimizer.iterations)
    model.fit(x, y, batch_size=100, verbose=0)
    assert int(model.optimizer.iterations) == before + 3


def test_indices_go_with_weights(blobs):
    """With weight 0 for two of three classes, what was learnt of their samples is 0, of the others it is not."""
    x, y = blobs
    own = LSTMImportance(history=2, units=4, jit_compile=False)
    callback = ImportanceSampling(batch_size=20, importance=own, seed=0)
    samples = tf.data.Dataset.from_tensor_slices((x, y, (y == 1).astype("float32")))
    classifier().fit(with_indices(samples).batch(100), epochs=4, shuffle=False, callbacks=[callback], verbose=0)
    losses, count = callback.sampler.importance.losses.window(np.arange(300))
    np.testing.assert_array_equal(losses[y != 1], 0)
    assert (losses[y == 1].sum(axis=1) > 0).sum() == np.count_nonzero(count[y == 1]) > 20


def test_indices_are_of_samples():
    with pytest.raises(ValueError, match=r"`dataset` must give samples \(x, y\) or \(x, y, sample_weight\)"):
        with_indices(tf.data.Dataset.from_tensor_slices(X))


X, Y = np.zeros((60, 2), np.float32), np.arange(60) % 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (dict(batch_size=0), "`batch_size` must be a whole number >= 1. Received: batch_size=0"),
        (dict(batch_size=8, importance="aprox"), "`importance` must be one of"),
        (dict(batch_size=8, k=2), "`k` must be a number <= 1"),
        (dict(batch_size=8, smoothing=-1), "`smoothing` must be a number >= 0"),
    ],
)
def test_bad_settings_are_refused_at_once(arguments, text):
    with pytest.raises(ValueError, match=text):
        ImportanceSampling(**arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (dict(batch_size=40), "`batch_size` of ImportanceSampling must be at most that of fit. Received: 40 of 30"),
        (dict(batch_size=8, importance="approx"), "a history of losses needs a stable index of each sample. Give with_indices"),
    ],
)
def test_bad_data_are_refused_before_the_first_step(arguments, text):
    model = classifier()
    callback = ImportanceSampling(**arguments)
    assert_refused(model, lambda: model.fit(X, Y, batch_size=30, callbacks=[callback], verbose=0), text)


def test_what_was_decided_before_a_state_was_saved_is_not_said_again():
    class Deciding(PerClassGaussian):
        decisions = ()

        def build(self, size, classes, seed):
            super().build(size, classes, seed)
            self.decisions = ["one"]

    x, y = np.random.default_rng(0).normal(size=(96, 2)).astype(np.float32), np.arange(96) % 3
    model, first, second = classifier(), *(ImportanceSampling(8, Deciding(), seed=0) for _ in range(2))
    model.fit(x, y, batch_size=24, callbacks=[first], verbose=0)
    second.set_state(first.get_state())
    assert model.fit(x, y, batch_size=24, callbacks=[second], verbose=0).decisions == []
