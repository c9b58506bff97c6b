"""`ImportanceTraining.fit` against plain Keras."""

import threading

import keras
import numpy as np
import pytest

from importance_sampling import (
    ApproximateImportanceTraining,
    BiasedImportanceTraining,
    ImportanceTraining,
    LSTMImportance,
    Oracle,
)
from tests.checks import ENDINGS, assert_equal_weights, assert_plain_fit_goes_on, assert_refused, ended_by
from tests.models import L, classifier, digits_classifier, small_lstm


def recorded(training):
    """Keeps every draw that training makes from now on."""
    draws = []
    sampler_for = training._sampler_for

    def prepared(*args):
        batch_size = sampler_for(*args)
        draw = training.sampler.draw
        training.sampler.draw = lambda b: draws.append(draw(b)) or draws[-1]
        return batch_size

    training._sampler_for = prepared
    return draws


@pytest.mark.parametrize("importance", ["uniform", "pcg", "approx", "oracle"])
def test_training_is_keras_training_on_the_weighted_draws(mnist, importance):
    """The weights are those of a plain loop of `train_on_batch` over the same draws: dropout, Adam and all."""
    x, y = mnist
    model = digits_classifier()
    training = ImportanceTraining(model, small_lstm() if importance == "approx" else importance, presample=128, seed=0)
    draws = recorded(training)
    training.fit(x, y, batch_size=32, steps_per_epoch=10, epochs=2, verbose=0)
    assert len(draws) == 20
    assert importance == "uniform" or any(draw.weights.std() > 0 for draw in draws)

    keras.utils.set_random_seed(0)
    twin = digits_classifier()
    for draw in draws:
        twin.train_on_batch(x[draw.indices], y[draw.indices], sample_weight=draw.weights[:, None])
    for ours, theirs in zip(model.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("importance", ["uniform", "approx", "oracle"])
def test_the_same_seed_gives_the_same_training_bit_for_bit(mnist, importance):
    x, y = mnist
    models = []
    for seed in (7, 7, 8):
        keras.utils.set_random_seed(0)
        models.append(digits_classifier())
        own = LSTMImportance(history=3, units=4) if importance == "approx" else importance
        training = ImportanceTraining(models[-1], own, presample=128, seed=seed)
        training.fit(x, y, batch_size=32, steps_per_epoch=15, epochs=2, verbose=0)
    assert_equal_weights(models[0], models[1].get_weights())
    with pytest.raises(AssertionError):
        assert_equal_weights(models[0], models[2].get_weights())


def test_the_sampler_is_told_the_losses_of_its_draws(blobs):
    """With a learning rate of 0 the losses of every sample are known: Keras's own, without the importance weights."""
    x, y = blobs
    model = classifier(optimizer=keras.optimizers.SGD(0.0))
    expected = np.asarray(keras.losses.sparse_categorical_crossentropy(y, model(x)))
    training = ImportanceTraining(model, small_lstm(), presample=60, seed=0)
    training.fit(x, y, batch_size=20, epochs=3, verbose=0)
    losses, count = training.sampler.importance.losses.window(np.arange(300))
    assert count.sum() > 300
    for i in np.flatnonzero(count):
        np.testing.assert_allclose(losses[i, : count[i]], expected[i], rtol=1e-4)


def test_approx_draws_what_is_hard(blobs):
    """Random labels on a tenth of the data make those samples the hard ones: they are drawn far above their share."""
    x, y = blobs
    hard = np.arange(300) % 10 == 0
    y = np.where(hard, np.random.default_rng(1).integers(0, 3, 300), y)
    training = ImportanceTraining(classifier(optimizer="adam"), small_lstm(), presample=100, smoothing=0.05, seed=0)
    draws = recorded(training)
    training.fit(x, y, batch_size=20, epochs=40, verbose=0)
    late = np.concatenate([draw.indices for draw in draws[-200:]])
    wrong = np.bincount(late, minlength=300)[hard & (y != np.arange(300) % 3)].mean() / (len(late) / 300)
    assert wrong > 1.5


class Recorder(keras.callbacks.Callback):
    """Which hooks were called, with which arguments and which logs."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda *args, **kwargs: self.calls.append(
            (name, *[sorted(a) if isinstance(a, dict) else a for a in (*args, *kwargs.values())])
        )


@pytest.mark.parametrize("compiling", [{}, {"steps_per_execution": 4}, {"run_eagerly": True}, {"jit_compile": True}])
def test_callbacks_history_and_updates_are_those_of_model_fit(blobs, compiling):
    x, y = blobs
    results = []
    for wrap in (lambda model: model.fit, lambda model: ImportanceTraining(model, "pcg", presample=64, seed=0).fit):
        model = classifier(metrics=["accuracy"], weighted_metrics=["sparse_categorical_crossentropy"], **compiling)
        recorder = Recorder()
        fit = wrap(model)
        history = fit(x, y, batch_size=32, epochs=2, validation_split=0.1, callbacks=[recorder], verbose=0)
        results.append((recorder.calls, list(history.history), history.params, int(model.optimizer.iterations)))
    theirs, ours = results
    assert ours == theirs


def test_validation_split_is_the_last_slice_and_is_not_drawn_from(blobs):
    x, y = blobs
    model = classifier()
    training = ImportanceTraining(model, "pcg", presample=64, seed=0)
    draws = recorded(training)
    weights = np.linspace(0.5, 2, 300).astype(np.float32)
    history = training.fit(x, y, batch_size=30, validation_split=0.2, sample_weight=weights, epochs=3, verbose=0)
    assert max(draw.indices.max() for draw in draws) < 240
    expected = model.evaluate(x[240:], y[240:], sample_weight=weights[240:], verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)


def test_sample_weight_and_class_weight_multiply_the_importance_weights(blobs):
    x, y = blobs
    weights, by_class = np.linspace(0.1, 2, 300).astype(np.float32), {0: 3.0, 2: 0.5}
    model = classifier()
    training = ImportanceTraining(model, Oracle(model), presample=64, seed=0)
    draws = recorded(training)
    training.fit(x, y, batch_size=32, sample_weight=weights, class_weight=by_class, verbose=0)

    keras.utils.set_random_seed(0)
    twin = classifier()
    total = weights * np.array([by_class.get(c, 1.0) for c in y])
    for i, draw in enumerate(draws):
        if i == 0:  # the score is the weighted loss
            each = total * np.asarray(keras.losses.sparse_categorical_crossentropy(y, twin(x)))
            np.testing.assert_allclose(draw.scores, each[draw.indices], rtol=1e-4)
        twin.train_on_batch(x[draw.indices], y[draw.indices], sample_weight=(draw.weights * total[draw.indices])[:, None])
    for ours, theirs in zip(model.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_labels_may_be_ids_in_a_column_or_one_hot(blobs):
    x, y = blobs
    drawn = []
    for labels, loss in (
        (y, "sparse_categorical_crossentropy"),
        (y[:, None], "sparse_categorical_crossentropy"),
        (np.eye(3)[y], "categorical_crossentropy"),
    ):
        keras.utils.set_random_seed(0)
        training = ImportanceTraining(classifier(loss=loss), "pcg", presample=64, seed=0)
        draws = recorded(training)
        training.fit(x, labels, batch_size=32, verbose=0)
        drawn.append(np.concatenate([draw.indices for draw in draws]))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_nested_inputs_and_outputs(blobs):
    """Lists, tuples and dictionaries of arrays, as `model.fit` takes them."""
    x, y = blobs
    a, b = keras.Input((2,), name="a"), keras.Input((1,), name="b")
    both = L.Concatenate()([a, b])
    model = keras.Model([a, b], {"c": L.Dense(1, name="c")(both), "d": L.Dense(1, name="d")(both)})
    model.compile("sgd", {"c": "mse", "d": "mae"}, loss_weights={"c": 1.0, "d": 0.5})
    targets = {"c": y.astype(float), "d": -y.astype(float)}
    for inputs in ([x, x[:, :1]], (x, x[:, :1]), {"a": x, "b": x[:, :1]}):
        plain = model.fit(inputs, targets, batch_size=50, verbose=0)
        history = ImportanceTraining(model, "oracle", presample=100, seed=0).fit(inputs, targets, batch_size=50, verbose=0)
        assert list(history.history) == list(plain.history)


def test_fitting_again_goes_on_and_other_data_start_anew(blobs):
    x, y = blobs
    training = ImportanceTraining(classifier(), small_lstm(), presample=64, seed=0)
    draws = recorded(training)
    training.fit(x, y, batch_size=30, verbose=0)
    sampler = training.sampler
    training.fit(x, y, batch_size=30, verbose=0)
    assert training.sampler is sampler
    first, second = draws[:10], draws[10:20]
    assert not np.array_equal(first[0].indices, second[0].indices)  # the same seed does not replay the first fit
    training.fit(x[:200], y[:200], batch_size=20, verbose=0)
    assert len(training.sampler.source) == 200
    assert training.sampler is not sampler
    assert training.sampler.importance.losses.window(np.arange(200))[1].sum() <= 200  # of one epoch only


def test_a_model_compiled_again_is_trained_with_its_new_loss(blobs):
    x, y = blobs
    model = classifier()
    training = ImportanceTraining(model, "pcg", presample=64, seed=0)
    training.fit(x, y, batch_size=32, verbose=0)
    model.compile(keras.optimizers.SGD(0.0), lambda t, p: 7.0 + 0.0 * p[:, 0])
    assert training.fit(x, y, batch_size=32, verbose=0).history["loss"] == [pytest.approx(7.0, rel=0.2)]


@pytest.mark.parametrize("error", ENDINGS)
@pytest.mark.parametrize("fitted_before", [False, True])
def test_the_model_is_left_as_it_was_found(blobs, error, fitted_before):
    x, y = blobs
    model = classifier()
    if fitted_before:
        model.fit(x, y, verbose=0)
    attributes, threads = set(vars(model)), threading.active_count()
    training = ImportanceTraining(model, "pcg", presample=64, seed=0)
    ended_by(error, lambda callbacks: training.fit(x, y, callbacks=callbacks, verbose=0))
    assert set(vars(model)) ^ attributes <= {"history", "_eval_epoch_iterator"}  # which `fit` of Keras sets itself
    assert threading.active_count() <= threads + (0 if fitted_before else 1)  # TensorFlow keeps one of its own
    assert_plain_fit_goes_on(model, x, y)


def test_a_callback_list_is_taken_and_given_back(blobs):
    x, y = blobs
    model = classifier()
    recorder = Recorder()
    callbacks = keras.callbacks.CallbackList([recorder], model=model, epochs=1, steps=10, verbose=0, add_history=True)
    kept = list(callbacks.callbacks)
    ImportanceTraining(model, "pcg", presample=64, seed=0).fit(x, y, batch_size=30, callbacks=callbacks)
    assert callbacks.callbacks == kept
    assert sum(name == "on_train_batch_end" for name, *_ in recorder.calls) == 10


def test_scores_that_become_nan_while_training_warn_once(blobs):
    x, y = blobs
    model = classifier()
    model.layers[0].kernel.assign(np.full((2, 8), np.nan))
    training = ImportanceTraining(model, "oracle", presample=64, seed=0)
    with pytest.warns(RuntimeWarning, match="Importance scores must be finite") as caught:
        training.fit(x, y, batch_size=30, verbose=0)
    assert len(caught) == 1


def test_losses_that_become_nan_do_not_enter_the_history(blobs):
    x, y = blobs
    each = keras.losses.sparse_categorical_crossentropy
    model = classifier(loss=lambda t, p: keras.ops.where(keras.ops.ravel(t) == 0, np.nan, each(t, p)))  # a third of the data
    training = ImportanceTraining(model, small_lstm(), presample=64, seed=0)
    training.fit(x, y, batch_size=30, verbose=0)
    losses, count = training.sampler.importance.losses.window(np.arange(300))
    assert np.all(np.isfinite(losses)) and count[::3].sum() == 0 and count.sum() > 100


@pytest.mark.parametrize("importance", ["oracle", "pcg", "uniform"])
def test_on_step_sees_every_draw_and_what_it_lost(blobs, importance):
    x, y = blobs
    model = classifier(optimizer=keras.optimizers.SGD(0.0), steps_per_execution=4)
    expected = np.asarray(keras.losses.sparse_categorical_crossentropy(y, model(x)))
    seen = []
    training = ImportanceTraining(model, importance, presample=64, seed=0, on_step=lambda *step: seen.append(step))
    training.fit(x, y, batch_size=30, epochs=2, verbose=0)
    assert len(seen) == 20
    for draw, losses in seen:
        np.testing.assert_allclose(losses, expected[draw.indices], rtol=1e-4)
        size = 30 if importance == "uniform" else 64
        assert len(draw.pool_indices) == len(draw.pool_scores) == draw.pool_size == size
        assert set(draw.indices) <= set(draw.pool_indices)
        if importance == "oracle":
            np.testing.assert_allclose(draw.pool_scores, expected[draw.pool_indices], rtol=1e-4)
            np.testing.assert_allclose(draw.scores, expected[draw.indices], rtol=1e-4)
        if importance == "uniform":
            assert np.all(np.isnan(draw.pool_scores)) and np.all(draw.weights == 1)


def test_an_error_of_on_step_surfaces_and_leaves_the_model(blobs):
    def fail(draw, losses):
        raise RuntimeError("on purpose")

    model = classifier()
    model.fit(*blobs, verbose=0)
    found = model.train_function
    with pytest.raises(RuntimeError, match="on purpose"):
        ImportanceTraining(model, "pcg", presample=64, on_step=fail).fit(*blobs, verbose=0)
    assert model.train_function is found
    with pytest.raises(TypeError, match=r"`on_step` must be a function of \(draw, losses\). Received: on_step=3"):
        ImportanceTraining(model, on_step=3)


def test_it_tells_where_the_time_went(blobs):
    training = ImportanceTraining(classifier(), "oracle", presample=64, seed=0)
    training.fit(*blobs, batch_size=32, verbose=0)
    assert list(training.seconds) == ["draw", "read", "step", "update"] and all(s > 0 for s in training.seconds.values())


def test_recipes_are_compositions(blobs):
    x, y = blobs
    model = classifier()
    approximate = ApproximateImportanceTraining(model, k=0.75, presample=64, seed=0)
    approximate.fit(x, y, batch_size=32, steps_per_epoch=1, verbose=0)
    assert isinstance(approximate.sampler.importance, LSTMImportance) and approximate.sampler.k == 0.75
    biased = BiasedImportanceTraining(model, k=0.25, presample=64, seed=0)
    biased.fit(x, y, batch_size=32, verbose=0)
    assert isinstance(biased.sampler.importance, Oracle) and biased.sampler.importance.quantity == "loss"
    assert biased.sampler.k == 0.25


def test_shuffle_false_keeps_the_order(blobs):
    x, y = blobs
    training = ImportanceTraining(classifier(), "uniform", seed=0)
    draws = recorded(training)
    training.fit(x, y, batch_size=30, shuffle=False, verbose=0)
    np.testing.assert_array_equal(np.concatenate([draw.indices for draw in draws]), np.arange(300))


X, Y = np.zeros((20, 2), np.float32), np.arange(20) % 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (dict(k=1.5), "`k` must be a number <= 1, and finite .* Received: k=1.5"),
        (dict(k=float("nan")), "`k` must be a number <= 1, and finite .* Received: k=nan"),
        (dict(smoothing=-1), "`smoothing` must be a number >= 0. Received: smoothing=-1"),
        (dict(importance="aprox"), "`importance` must be one of pcg, approx, history, oracle, gnorm, full_gnorm, uniform"),
        (dict(presample=-3), "`presample` must be None or a whole number >= 1. Received: presample=-3"),
    ],
)
def test_bad_settings_are_refused_at_once(arguments, text):
    with pytest.raises(ValueError, match=text):
        ImportanceTraining(classifier(), **arguments)


def test_something_that_is_no_model_is_refused():
    with pytest.raises(TypeError, match="`model` must be a keras.Model. Received: model='model'"):
        ImportanceTraining("model")


@pytest.mark.parametrize(
    ("importance", "arguments", "text"),
    [
        ("pcg", dict(x=X, y=Y[:10]), r"must have the same length. Received: len\(x\)=20, len\(y\)=10"),
        ("pcg", dict(x=X, y=Y, sample_weight=np.ones(3)), r"Received: len\(x\)=20, len\(y\)=20, len\(sample_weight\)=3"),
        ("pcg", dict(x=X[:0], y=Y[:0]), "`x` must have at least one sample. Received: empty data"),
        ("pcg", dict(x=X), "`y` must be class ids .* Received: no targets"),
        ("oracle", dict(x=X), "`y` must be given for this loss, or come with `x`. Received: y=None"),
        ("oracle", dict(y=Y), "`x` must be given. Received: x=None"),
        (
            "pcg",
            dict(x=X, y=Y, steps_per_epoch=0),
            "`steps_per_epoch` must be .* whole number >= 1. Received: steps_per_epoch=0",
        ),
        (
            "pcg",
            dict(x=X, y=Y, steps_per_epoch=-1),
            "`steps_per_epoch` must be .* whole number >= 1. Received: steps_per_epoch=-1",
        ),
        ("pcg", dict(x=X, y=Y, batch_size=0), "`batch_size` must be None or a whole number >= 1. Received: batch_size=0"),
        ("pcg", dict(x=X, y=Y, batch_size=15), "`presample` must be >= batch_size, 15: .* Received: presample=12"),
        ("pcg", dict(x=X, y=Y, validation_split=1.0), "`validation_split` must leave .* Received: validation_split=1.0"),
        ("pcg", dict(x=X, y=Y + 0.5), "`y` must be class ids .* Received: y=0.5"),
        ("approx", dict(x=X, y=np.where(Y == 1, np.nan, Y)), "`y` must be finite; .* Received: y=nan for sample 1"),
        ("approx", dict(x=X, y=Y - 1), "`y` must be class ids .* Received: y=-1"),
        ("approx", dict(x=X, y=Y + 1), r"`y` must be class ids in \[0, 3\), by the model's outputs, .* Received: y=3"),
        ("pcg", dict(x=X, y=np.ones((20, 3))), r"one-hot .* Received: y.shape=\(20, 3\), with rows that are not one-hot"),
        ("pcg", dict(x=X, y=np.zeros((20, 3, 2))), r"`y` must be class ids .* Received: y.shape=\(20, 3, 2\)"),
        (
            "approx",
            dict(x=X, y=np.array(list("abcde") * 4)),
            "`y` must be numbers; number the classes, .* Received: text, y.dtype=<U1",
        ),
        ("pcg", dict(x=X, y=(Y, Y)), "`y` must be class ids .* Received: tuple"),
    ],
)
def test_bad_data_are_refused_before_the_first_step(importance, arguments, text):
    model = classifier()
    training = ImportanceTraining(model, importance, presample=12)
    assert_refused(model, lambda: training.fit(**{"batch_size": 5, "verbose": 0, **arguments}), text)


def test_a_model_that_is_not_compiled_is_refused():
    model = keras.Sequential([keras.Input((2,)), L.Dense(3)])
    with pytest.raises(ValueError, match="`model` must be compiled"):
        ImportanceTraining(model, "uniform").fit(X, Y)


@pytest.mark.parametrize("importance", ["uniform", "oracle", "pcg"])
def test_a_loss_without_value_for_each_sample_is_refused_before_the_first_step(importance):
    model = classifier(loss=lambda t, p: keras.ops.mean(keras.ops.square(keras.ops.cast(t, "float32") - p[:, 0])))
    training = ImportanceTraining(model, importance, presample=12)
    assert_refused(model, lambda: training.fit(X, Y, batch_size=5, verbose=0), "must have a value for each sample")
    assert "compute_loss" not in vars(model)
