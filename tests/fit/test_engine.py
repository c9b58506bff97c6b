"""Beside other callbacks, and with arguments that plain Keras is the measure of."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import (
    ArraySource,
    ImportanceSampling,
    ImportanceTraining,
    PerClassGaussian,
    with_indices,
)
from tests.models import L, classifier, small_lstm

N = 96
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2)).astype(np.float32)
Y = np.arange(N) % 3


def still(**compiling):
    """A classifier that does not learn: its losses are known."""
    return classifier(optimizer=keras.optimizers.SGD(0.0), **compiling)


def uniform(model, **settings):
    return ImportanceTraining(model, "uniform", seed=0, **settings)


def test_class_weight_does_not_weigh_the_validation_data():
    arguments = dict(x=X, y=Y, batch_size=16, class_weight={0: 10.0, 1: 1.0, 2: 0.5}, validation_split=0.25, verbose=0)
    model = still()
    expected = model.fit(**arguments).history
    assert uniform(model).fit(**arguments).history["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)


def test_a_stop_from_another_callback_is_heard():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                self.model.stop_training = True

    for order in (1, -1):
        model = classifier()
        model.fit(X, Y, batch_size=16, epochs=3, callbacks=[ImportanceSampling(8, "pcg"), Stop()][::order], verbose=0)
        assert int(model.optimizer.iterations) == 3 and model.stop_training is True


def test_two_engines_on_one_model_are_refused():
    model = classifier()
    with pytest.raises(ValueError, match="`callbacks` must have no ImportanceSampling"):
        uniform(model).fit(X, Y, callbacks=[ImportanceSampling(8, "uniform")], verbose=0)
    with pytest.raises(ValueError, match="`callbacks` must have one ImportanceSampling"):
        model.fit(X, Y, callbacks=[ImportanceSampling(8, "uniform"), ImportanceSampling(4, "uniform")], verbose=0)
    model.fit(X, Y, batch_size=32, verbose=0)
    assert int(model.optimizer.iterations) == 3


def test_training_inside_of_a_callback_is_plain_training():
    seen = []

    class Other(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.train_on_batch(X[:4], Y[:4])

    model = classifier()
    training = uniform(model, on_step=lambda draw, _: seen.append(len(draw)))
    training.fit(X, Y, batch_size=16, callbacks=[Other()], verbose=0)
    assert seen == 6 * [16] and int(model.optimizer.iterations) == 12


@pytest.mark.parametrize("inner", ["plain", "training", "callback"])
@pytest.mark.parametrize("outer", ["training", "callback"])
def test_a_fit_inside_of_a_fit(outer, inner):
    """The outer one goes on by its own draws, and the inner one's are none of its."""
    drawn = {"outer": [], "inner": []}
    fits = {
        "plain": lambda model, name, **more: model.fit(X, Y, batch_size=48, verbose=0, **more),
        "training": lambda model, name, callbacks=(): ImportanceTraining(
            model, "pcg", presample=48, on_step=lambda draw, _: drawn[name].append(len(draw))
        ).fit(X, Y, batch_size=16, epochs=2 if name == "outer" else 1, callbacks=list(callbacks), verbose=0),
        "callback": lambda model, name, callbacks=(): model.fit(
            X,
            Y,
            batch_size=48,
            epochs=2 if name == "outer" else 1,
            callbacks=[*callbacks, ImportanceSampling(8, "pcg", on_step=lambda draw, _: drawn[name].append(len(draw)))],
            verbose=0,
        ),
    }
    model = classifier()
    again = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: batch or fits[inner](model, "inner"))
    fits[outer](model, "outer", callbacks=[again])
    assert drawn["outer"] == (12 * [16] if outer == "training" else 4 * [8])
    assert drawn["inner"] == {"plain": [], "training": 12 * [16], "callback": 4 * [8]}[inner]
    assert int(model.optimizer.iterations) == len(drawn["outer"]) + (len(drawn["inner"]) or 4)
    assert "importance_sampling" not in model.train_function.__module__


def test_compiling_while_fit_runs_is_refused():
    model = classifier()
    compile_again = lambda epoch, logs: model.compile("adam", "sparse_categorical_crossentropy")  # noqa: E731
    again = keras.callbacks.LambdaCallback(on_epoch_end=compile_again)
    with pytest.raises(ValueError, match="`model.compile` must not be called while `fit` runs"):
        uniform(model).fit(X, Y, epochs=2, callbacks=[again], verbose=0)


def test_a_make_train_function_of_the_users_own_is_refused():
    class Model(keras.Sequential):
        def make_train_function(self, force=False):
            return super().make_train_function(force)

    model = Model([keras.Input((2,)), L.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="`model.make_train_function` must be that of Keras"):
        uniform(model).fit(X, Y, verbose=0)


def test_class_weight_of_soft_labels_goes_by_the_largest():
    soft = (0.7 * np.eye(3) + 0.1)[Y].astype(np.float32)
    model = still(loss="categorical_crossentropy")
    arguments = dict(x=X, y=soft, class_weight={0: 3.0, 1: 1.0, 2: 0.1}, batch_size=N, verbose=0)
    assert uniform(model).fit(**arguments).history["loss"] == pytest.approx(model.fit(**arguments).history["loss"], rel=1e-5)


def test_a_refused_fit_takes_nothing_from_a_generator():
    batches = iter([(X[:16], Y[:16])] * 6)
    with pytest.raises(ValueError, match="`pools` must be None"):
        ImportanceTraining(classifier(), "pcg", pools="random").fit(batches, steps_per_epoch=2, verbose=0)
    assert len(list(batches)) == 6


@pytest.mark.parametrize("batch_size", [128, 2000])
@pytest.mark.parametrize("importance", ["uniform", "pcg"])
def test_a_batch_may_be_larger_than_the_data(importance, batch_size):
    """One step an epoch on all samples, as in plain fit."""
    model, draws = classifier(), []
    training = ImportanceTraining(model, importance, seed=0, on_step=lambda draw, _: draws.append(len(draw)))
    training.fit(X, Y, batch_size=batch_size, epochs=2, verbose=0)
    assert draws == [N, N]


def test_a_presample_that_is_not_given_grows_with_the_batch():
    x, y = np.zeros((9000, 2), np.float32), np.arange(9000) % 3
    pools = []
    training = ImportanceTraining(classifier(), small_lstm(), seed=0, on_step=lambda draw, _: pools.append(draw.pool_size))
    for batch_size in (32, 1024):
        training.fit(x, y, batch_size=batch_size, steps_per_epoch=1, verbose=0)
    assert pools == [64 * 32, 9000]


def test_indices_are_taken_for_indices_with_any_importance():
    """And not for sample weights, which would go up to the number of samples."""
    data = with_indices(tf.data.Dataset.from_tensor_slices((X, Y))).batch(48)
    losses = []
    for importance in ("oracle", "pcg", small_lstm()):
        callback = ImportanceSampling(16, importance, seed=0)
        losses.append(still().fit(data, shuffle=False, callbacks=[callback], verbose=0).history["loss"][0])
    assert max(losses) < 3


@pytest.mark.parametrize(
    "data",
    [
        lambda: tf.data.Dataset.from_tensor_slices((X, Y, np.linspace(0, 1, N))).batch(48),
        lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(48),
    ],
    ids=["weights", "none"],
)
def test_what_is_no_index_is_refused(data):
    with pytest.raises(ValueError, match="a history of losses needs a stable index of each sample"):
        callback = ImportanceSampling(16, small_lstm())
        classifier().fit(data(), shuffle=False, callbacks=[callback], verbose=0)


@pytest.mark.parametrize("way", ["training", "callback"])
@pytest.mark.parametrize(
    ("batches", "received"),
    [
        (lambda: tf.data.Dataset.from_tensor_slices((X, Y, {"index": np.linspace(0, 1, N)})).batch(48), "float"),
        (lambda: tf.data.Dataset.from_tensor_slices((X, Y, {"index": np.arange(N) - 1})).batch(48), "int64 of shape"),
        (lambda: with_indices(tf.data.Dataset.from_tensor_slices((X, Y)).batch(48)), r"int64 of shape \(\) for 48"),
    ],
    ids=["floats", "negative", "batched first"],
)
def test_what_is_no_index_of_a_sample_is_refused(batches, received, way):
    with pytest.raises(ValueError, match=f'`x` must give an "index" for each sample, a whole number >= 0.* Received: {received}'):
        if way == "training":
            ImportanceTraining(classifier(), small_lstm()).fit(batches(), verbose=0)
        else:
            classifier().fit(batches(), shuffle=False, callbacks=[ImportanceSampling(16, small_lstm())], verbose=0)


@pytest.mark.parametrize("kinds", [("losses", "scores"), ("scores", "losses")])
def test_one_warning_does_not_hide_another(kinds):
    from importance_sampling import ImportanceSampler

    class Broken(PerClassGaussian):
        broken = False

        def score(self, pool):
            return np.full(len(pool), np.nan if self.broken else 1.0)

    sampler = ImportanceSampler(ArraySource(X, Y), Broken(), presample=32, seed=0)

    def losses():
        sampler.update(sampler.draw(8), -np.ones(8))

    def scores():
        sampler.importance.broken = True
        sampler.draw(8)
        sampler.importance.broken = False

    for kind in kinds:
        with pytest.warns(RuntimeWarning, match={"losses": "negative loss", "scores": "must be finite"}[kind]):
            {"losses": losses, "scores": scores}[kind]()


def test_pools_that_would_be_ignored_are_refused():
    with pytest.raises(
        ValueError, match="`shuffle` must be True where `pools` is given. Received: shuffle=False, pools=RandomPools"
    ):
        ImportanceTraining(classifier(), "pcg", pools="random").fit(X, Y, shuffle=False, verbose=0)
    with pytest.raises(ValueError, match="`pools` must be None: batches come in their own order"):
        ImportanceTraining(classifier(), "pcg", pools="random").fit(tf.data.Dataset.from_tensor_slices((X, Y)).batch(8), verbose=0)


@pytest.mark.parametrize("own", [PerClassGaussian(quantity="gnorm"), "gnorm"], ids=["pcg", "oracle"])
def test_the_gradient_norm_reaches_an_importance_through_fit(own):
    """At the logits of a softmax it is |softmax - one-hot|."""
    model, steps = still(), []
    p = np.asarray(model(X))
    expected = np.linalg.norm(p - np.eye(3)[Y], axis=1)
    training = ImportanceTraining(model, own, presample=48, seed=0, on_step=lambda draw, _: steps.append(draw))
    training.fit(X, Y, batch_size=48, epochs=10, verbose=0)
    if own == "gnorm":
        training.fit(X, Y, batch_size=16, verbose=0)
        np.testing.assert_allclose(steps[-1].scores, expected[steps[-1].indices], rtol=1e-3)
    else:
        means = [expected[c == Y].mean() for c in range(3)]
        np.testing.assert_allclose(training.sampler.importance.mean, means, rtol=0.1)
        assert not np.allclose(means, [-np.log(p[c == Y, c]).mean() for c in range(3)], rtol=0.2)
