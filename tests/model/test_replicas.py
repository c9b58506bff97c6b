"""More than one device: what one device does, on parts of the batch."""

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceSampling, ImportanceTraining, with_indices
from importance_sampling.model.probe import loss_form
from tests.checks import assert_refused
from tests.models import L, classifier, small_lstm


@pytest.fixture(scope="module")
def keras_is_right(strategy):
    """Whether plain `fit` of Keras reports under a strategy what it reports without; Keras 3.8 does not."""
    found = []
    for scope in (contextlib.nullcontext(), strategy.scope()):
        keras.utils.set_random_seed(0)
        with scope:
            model = classifier(metrics=["accuracy"])
        x = np.random.default_rng(0).normal(size=(60, 2))
        found.append(model.fit(x, np.arange(60) % 3, batch_size=20, shuffle=False, verbose=0).history["accuracy"])
    return found[0] == pytest.approx(found[1])


def trained(scope, fit, **compiling):
    """The model after training and every step of it."""
    keras.utils.set_random_seed(0)
    with scope:
        model = classifier(optimizer="adam", metrics=["accuracy"], **compiling)
    steps = []
    sampler, history = fit(model, lambda draw, losses: steps.append((draw, losses)))
    return model, steps, sampler, history.history


def by_training(importance, x, y):
    def fit(model, on_step):
        training = ImportanceTraining(model, importance, presample=60, seed=0, on_step=on_step)
        return training, training.fit(x, y, batch_size=20, epochs=2, sample_weight=np.linspace(0.5, 2, len(x)), verbose=0)

    return lambda model, on_step: (lambda training, history: (training.sampler, history))(*fit(model, on_step))


def by_callback(importance, x, y):
    def fit(model, on_step):
        callback = ImportanceSampling(20, importance, seed=0, on_step=on_step)
        data = tf.data.Dataset.from_tensor_slices((x, y))
        if importance.uses_indices:
            data = with_indices(data)
            model.test_on_batch(x[:20], y[:20])  # builds the metrics, for which Keras under a strategy would take the indices
        history = model.fit(data.batch(60), shuffle=False, epochs=2, callbacks=[callback], verbose=0)
        return callback.sampler, history

    return fit


@pytest.mark.parametrize(
    ("importance", "compiling"),
    [
        ("uniform", {}),
        ("oracle", {}),
        ("gnorm", {}),
        ("approx", {}),
        ("approx", {"steps_per_execution": 4}),
        ("approx", {"run_eagerly": True}),
    ],
    ids=str,
)
def test_two_replicas_train_as_one_device(blobs, strategy, importance, compiling, keras_is_right):
    """The same draws, losses and weights of the model, up to round-off; the batch is weighed as a whole."""
    importance = small_lstm() if importance == "approx" else importance
    x, y = (part[:80] for part in blobs) if "run_eagerly" in compiling else blobs  # which is slow
    alone = trained(contextlib.nullcontext(), by_training(importance, x, y), **compiling)
    together = trained(strategy.scope(), by_training(importance, x, y), **compiling)
    assert_same_training(alone, together, keras_is_right, len(x))


def test_two_replicas_train_as_one_device_by_the_callback(blobs, strategy, keras_is_right):
    alone = trained(contextlib.nullcontext(), by_callback(small_lstm(), *blobs))
    together = trained(strategy.scope(), by_callback(small_lstm(), *blobs))
    assert_same_training(alone, together, keras_is_right)


@pytest.mark.parametrize("left", [1, 5])
def test_a_last_batch_that_replicas_cannot_share_is_filled_up(blobs, strategy, left):
    """All of its samples are trained on, one of them twice."""
    with strategy.scope():
        model = classifier()
    draws = []
    callback = ImportanceSampling(20, "oracle", seed=0, on_step=lambda draw, _: draws.append(draw))
    model.fit(*(part[: 60 + left] for part in blobs), batch_size=60, callbacks=[callback], verbose=0)
    assert [len(draw) for draw in draws] == [20, left + 1]
    assert set(draws[-1].indices) == set(range(60, 60 + left))


def test_batches_of_any_size_on_two_replicas(blobs, strategy):
    """Four samples and three come last."""
    x, y = blobs
    batches = [(x[i:j], y[i:j]) for i, j in ((0, 8), (8, 16), (16, 24), (24, 32), (32, 36), (36, 39))]
    for importance, expected in (("uniform", [8, 8, 8, 8, 4, 4]), ("pcg", [8, 8, 8, 8, 8, 4])):
        with strategy.scope():
            model = classifier()
        sizes = []
        training = ImportanceTraining(model, importance, presample=8, on_step=lambda draw, _: sizes.append(len(draw)))  # noqa: B023
        with pytest.warns(UserWarning, match="ran out of data"):
            training.fit(iter(batches), verbose=0)
        assert sizes == expected


def assert_same_training(alone, together, same_history, size=300):
    (model, steps, sampler, history), (other, others, other_sampler, other_history) = alone, together
    assert len(steps) == len(others) > 0
    for (draw, losses), (other_draw, other_losses) in zip(steps, others):
        np.testing.assert_array_equal(draw.indices, other_draw.indices)
        np.testing.assert_allclose(losses, other_losses, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    assert list(history) == list(other_history)
    for name in history if same_history else []:
        np.testing.assert_allclose(history[name], other_history[name], rtol=1e-3)
    if sampler.importance.uses_indices:
        (losses, count), (other_losses, other_count) = (
            s.importance.losses.window(np.arange(size)) for s in (sampler, other_sampler)
        )
        assert count.sum() > size / 2
        np.testing.assert_array_equal(count, other_count)
        np.testing.assert_allclose(losses, other_losses, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_divided_by_the_replicas_gives_the_same_losses(blobs, strategy):
    """Keras divides a mean by the number of replicas; a sum and a `compute_loss` of the user's own are as they are."""

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, x):
            return self.dense(x)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            each = keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True)
            return keras.ops.mean(each[:, None] * sample_weight)

    x, y = blobs
    for make, divisor in (
        (classifier, 2),
        (lambda: classifier(loss=keras.losses.SparseCategoricalCrossentropy(reduction="sum")), 1),
        (lambda: compiled(Own()), 1),
    ):
        with strategy.scope():
            model = make()
            model(x[:1])
        assert loss_form(model, x[:8], y[:8]).divisor == divisor
        own = keras.losses.sparse_categorical_crossentropy
        expected = own(y[:20], model(x[:20]), from_logits=isinstance(model, Own))
        seen = []
        training = ImportanceTraining(model, "uniform", seed=0, on_step=lambda draw, losses: seen.append(losses))  # noqa: B023
        training.fit(x[:20], y[:20], batch_size=20, shuffle=False, verbose=0)
        np.testing.assert_allclose(seen[0], expected, rtol=1e-4)


def compiled(model):
    model.compile("sgd")
    return model


@pytest.mark.parametrize("how", ["fit", "callback"])
def test_what_a_strategy_does_not_take_is_refused(blobs, strategy, how):
    x, y = blobs

    def fit(model, batch_size=20):
        if how == "fit":
            ImportanceTraining(model, "pcg", presample=60, seed=0).fit(x, y, batch_size=batch_size, verbose=0)
        else:
            model.fit(x, y, batch_size=60, callbacks=[ImportanceSampling(batch_size, "pcg")], verbose=0)

    with strategy.scope():
        model, with_xla = classifier(), classifier(jit_compile=True)
    assert_refused(model, lambda: fit(model, 15), "`batch_size` must be a multiple of the 2 replicas. Received: batch_size=15")
    assert_refused(with_xla, lambda: fit(with_xla), "`jit_compile` must be False or 'auto' under a strategy")


@pytest.mark.parametrize("importance", ["uniform", "oracle", "approx"])
def test_fit_inside_of_the_scope_is_fit_outside(blobs, strategy, importance):
    """Plain fit runs in either; the losses are those of the samples, though Keras divides them in a scope."""
    results = []
    for scope in (contextlib.nullcontext, strategy.scope):
        importance = small_lstm() if importance == "approx" else importance
        by = by_training(importance, *blobs)

        def fit(model, on_step):
            with scope():  # noqa: B023
                return by(model, on_step)  # noqa: B023

        results.append(trained(strategy.scope(), fit))
    assert_same_training(*results, same_history=True)


def test_the_callback_inside_of_the_scope(blobs, strategy):
    losses = []
    for scope in (contextlib.nullcontext(), strategy.scope()):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = classifier()
        with scope:
            callback = ImportanceSampling(20, "oracle", seed=0, on_step=lambda _, found: losses.append(found))
            model.fit(*blobs, batch_size=60, shuffle=False, callbacks=[callback], verbose=0)
    np.testing.assert_allclose(losses[:5], losses[5:], rtol=1e-5)


def test_plain_keras_fails_with_xla_on_two_replicas(blobs, strategy):
    """The reason for refusing it: if this test fails one day, Keras has learnt it, and so can this library."""
    with strategy.scope():
        model = classifier(jit_compile=True)
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.fit(*blobs, batch_size=20, verbose=0)


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        # if Keras's own fit trains one day, the refusal has lost its reason
        ("plain", "raised ValueError Attempt to convert a value (PerReplica"),
        ("importance", "raised ValueError `model` must be on one device or under tf.distribute.MirroredStrategy"),
    ],
)
def test_two_workers_are_refused_since_keras_itself_does_not_run_there(how, outcome):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("localhost", 0))
        ports = ",".join(str(one.getsockname()[1]) for one in sockets)
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.multi_worker", how, ports, str(index)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for index in range(2)
    ]
    try:
        for worker in workers:
            assert outcome in worker.communicate(timeout=120)[0]
    finally:
        for worker in workers:
            worker.kill()
