"""What newcomers get wrong: found before the first step, named, and nothing is lost; or it simply works."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import (
    ArraySource,
    ConstantTimeImportanceTraining,
    ConstantVarianceImportanceTraining,
    ImportanceSampler,
    ImportanceSampling,
    ImportanceTraining,
    ItemSource,
    weighted_dataset,
    with_indices,
)
from tests.checks import assert_refused
from tests.kinds import KINDS, LABELS, ONE_HOT, TARGET, N, X, compiled, dense, two_outputs
from tests.models import classifier

SLICES = tf.data.Dataset.from_tensor_slices((X, LABELS))
UNEQUAL = r"`x`, `y` and `sample_weight` must have the same length in each batch. Received: "


@pytest.mark.parametrize("importance", ["uniform", "auto", "history", "pcg"])
def test_no_step_is_lost_where_the_loss_is_not_given_the_inputs(importance):
    """Also of the steps in which nothing is measured, which are traced for themselves."""
    model = KINDS["own train_step without x"][0]()
    history = ImportanceTraining(model, importance, seed=0).fit(X, LABELS, batch_size=8, epochs=30, verbose=0)
    assert int(model.optimizer.iterations) == 180 and len(history.history["loss"]) == 30


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")  # of Keras: the output is not trained
@pytest.mark.parametrize("importance", ["uniform", "history"])
def test_labels_beside_an_output_without_a_loss(importance):
    """The losses of the samples are those of the labels alone."""
    model, losses = two_outputs(None), {}
    training = ImportanceTraining(
        model, importance, seed=0, on_step=lambda draw, values: losses.update(zip(draw.indices.tolist(), values))
    )
    before = keras.losses.sparse_categorical_crossentropy(LABELS, model(X)["label"]).numpy()
    training.fit(X, {"label": LABELS, "sum": TARGET}, batch_size=N, verbose=0)
    np.testing.assert_allclose([losses[i] for i in range(N)], before, rtol=1e-4)


def against_the_mean(y, y_pred):
    return keras.ops.mean((y - keras.ops.mean(y_pred, axis=0)) ** 2, axis=-1)


def by_the_number_of_targets(y, y_pred):
    """Missing ones are NaN."""
    known = keras.ops.isfinite(y)
    errors = keras.ops.where(known, (keras.ops.where(known, y, 0.0) - y_pred) ** 2, 0.0)
    return keras.ops.mean(errors, axis=-1) / keras.ops.mean(keras.ops.cast(known, "float32"))


@pytest.mark.parametrize("loss", [against_the_mean, by_the_number_of_targets])
def test_a_loss_over_the_batch_is_found_beside_labels(loss):
    """Though the marks of missing targets, which labels do not take, leave these as they were."""
    model = two_outputs(loss)
    fit = lambda: ImportanceTraining(model, "uniform").fit(X, {"label": LABELS, "sum": TARGET}, verbose=0)  # noqa: E731
    assert_refused(model, fit, "for output 'sum', a loss of a sample that changes with the other samples")


def test_what_stops_an_iteration_is_not_the_end_of_the_data():
    """Keras would take it for that, and end the epoch without a word."""

    def on_step(draw, losses):
        next(iter(()))

    with pytest.raises(RuntimeError, match="A step was ended by StopIteration"):
        ImportanceTraining(classifier(), "pcg", on_step=on_step).fit(X, LABELS, verbose=0)


def unequal(x, y, own=None):
    return lambda: iter([(x, y) if own is None else (x, y, own)])


@pytest.mark.parametrize(
    ("batches", "received"),
    [
        (unequal(X, np.tile(LABELS, 2)), r"len\(x\)=48, len\(y\)=96"),
        (unequal(X, LABELS[:40]), r"len\(x\)=48, len\(y\)=40"),
        (unequal(X, LABELS, np.ones(20)), r"len\(x\)=48, len\(y\)=48, len\(sample_weight\)=20"),
        (unequal({"a": X, "b": X[:9]}, LABELS), r"len\(x\)=9/48, len\(y\)=48"),
    ],
)
@pytest.mark.parametrize("importance", ["oracle", "pcg", "uniform"])
def test_batches_whose_parts_differ_in_length(importance, batches, received):
    model = classifier()
    training = ImportanceTraining(model, importance)
    assert_refused(model, lambda: training.fit(batches(), steps_per_epoch=1, verbose=0), UNEQUAL + received)


def test_batches_of_different_lengths_with_the_callback():
    model = classifier()
    batches = (batch for batch in unequal(X, np.tile(LABELS, 2))())  # Keras takes no iterator but a generator
    fit = lambda: model.fit(batches, steps_per_epoch=1, shuffle=False, callbacks=[ImportanceSampling(8)], verbose=0)  # noqa: E731
    assert_refused(model, fit, UNEQUAL + r"len\(x\)=48, len\(y\)=96")


@pytest.mark.parametrize("dataset", [SLICES, with_indices(SLICES)], ids=["plain", "with indices"])
def test_a_data_set_that_was_not_batched(dataset):
    model = classifier()
    assert_refused(
        model, lambda: ImportanceTraining(model, "oracle").fit(dataset, verbose=0), r"single samples, which needs `.batch"
    )
    one_hot = tf.data.Dataset.from_tensor_slices((X, ONE_HOT))
    assert_refused(model, lambda: ImportanceTraining(model, "oracle").fit(one_hot, verbose=0), UNEQUAL + r"len\(x\)=2, len\(y\)=3")


def test_a_callback_that_has_nothing_to_choose_says_so():
    """32 is fit's own default, too."""
    with pytest.warns(RuntimeWarning, match="There is nothing to choose: give `fit` a larger `batch_size`.* batches of 32"):
        classifier().fit(X, LABELS, callbacks=[ImportanceSampling(32, "oracle")], verbose=0)
    classifier().fit(X, LABELS, callbacks=[ImportanceSampling(32, "uniform")], verbose=0)  # which is plain training


def test_a_history_of_arrays_through_the_callback():
    model = classifier()
    fit = lambda: model.fit(X, LABELS, callbacks=[ImportanceSampling(8, "history")], verbose=0)  # noqa: E731
    assert_refused(model, fit, r"Give with_indices\(dataset\), .*, or give the arrays to ImportanceTraining\(model\).fit. Received")


@pytest.mark.parametrize("weights", [(), (np.linspace(0, 2, N, dtype=np.float32),)], ids=["plain", "weighted"])
def test_validation_data_may_have_indices(weights):
    dataset = tf.data.Dataset.from_tensor_slices((X, LABELS, *weights))
    found = []
    for validation_data in (dataset.batch(16), with_indices(dataset).batch(16)):
        keras.utils.set_random_seed(0)
        training = ImportanceTraining(classifier(), "history", seed=0)
        found.append(training.fit(with_indices(dataset).batch(16), validation_data=validation_data, verbose=0).history)
    assert found[0] == found[1] and "val_loss" in found[0]


@pytest.mark.parametrize("targets", [lambda y: {"label": y}, lambda y: [y]], ids=["dictionary", "list"])
@pytest.mark.parametrize("importance", ["pcg", "history"])
def test_the_classes_of_one_output_in_a_structure(importance, targets):
    """Draws are those of the array alone."""
    found = []
    for y in (LABELS, targets(LABELS)):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((2,))
        outputs = keras.layers.Dense(3, activation="softmax", name="label")(inputs)
        model = compiled(keras.Model(inputs, {"label": outputs} if isinstance(y, dict) else [outputs]), metrics=())
        draws = []
        training = ImportanceTraining(model, importance, seed=0, on_step=lambda draw, losses: draws.append(draw.indices))  # noqa: B023
        training.fit(X, y, batch_size=8, epochs=3, verbose=0)
        found.append((draws, training.sampler.classes))
    np.testing.assert_equal(found[0], found[1])


@pytest.mark.parametrize("recipe", [ConstantVarianceImportanceTraining, ConstantTimeImportanceTraining])
def test_none_is_the_k_of_a_recipe(recipe):
    weights = []
    for k in ({}, {"k": None}, {"k": 1.0}):
        keras.utils.set_random_seed(0)
        found = []
        training = recipe(compiled(dense()), seed=0, on_step=lambda draw, losses: found.append(draw.weights), **k)  # noqa: B023
        training.fit(X, LABELS, batch_size=8, epochs=20, verbose=0)
        weights.append(np.concatenate(found))
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2])
    assert np.ptp(weights[0]) > 0


MODEL = functools.cache(classifier)


@pytest.mark.parametrize(
    ("make", "kind", "sentence"),
    [
        (
            lambda: ImportanceTraining(MODEL(), on_step=lambda draw: None),
            TypeError,
            r"`on_step` must be a function of \(draw, losses\)",
        ),
        (
            lambda: ImportanceSampling(8, on_step=lambda a, b, c: None),
            TypeError,
            r"`on_step` must be .* missing a required argument: 'c'",
        ),
        (lambda: ImportanceTraining(MODEL(), logs="no"), ValueError, "`logs` must be True or False. Received: logs='no'"),
        (lambda: ImportanceTraining(MODEL(), read_ahead=None), ValueError, "`read_ahead` must be True or False"),
        (lambda: ImportanceSampling(8, logs=1), ValueError, "`logs` must be True or False. Received: logs=1"),
        (lambda: ImportanceSampling(8, seed="a"), ValueError, "`seed` must be None, a whole number"),
        (lambda: ItemSource(5), ValueError, "`x` must give single samples by __len__ and __getitem__. Received: x=int"),
        (lambda: with_indices(with_indices(SLICES)), ValueError, "`dataset` must have no indices yet"),
        (
            lambda: weighted_dataset(ArraySource(X, LABELS), iter([])),
            TypeError,
            "`draws` must be a function .* draws=list_it",
        ),
        (
            lambda: ImportanceTraining(MODEL(), "pcg").fit(X, LABELS, validation_split=0.2, validation_batch_size=-1, verbose=0),
            ValueError,
            "`validation_batch_size` must be None or a whole number >= 0. Received: validation_batch_size=-1",
        ),
    ],
)
def test_arguments(make, kind, sentence):
    with pytest.raises(kind, match=sentence):
        make()


def test_losses_that_are_missing_are_named():
    sampler = ImportanceSampler(ArraySource(X, LABELS), "pcg", seed=0)
    with pytest.raises(ValueError, match="`losses` must be given. Received: losses=None"):
        sampler.update(sampler.draw(8), None)
