"""Single samples, text, and batches that are not as they should be."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import (
    ArraySource,
    ImportanceSampling,
    ImportanceTraining,
    ItemSource,
)
from tests.models import L, classifier, small_lstm

N = 96
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2)).astype(np.float32)
Y = np.arange(N) % 3


def uniform(model, **settings):
    return ImportanceTraining(model, "uniform", seed=0, **settings)


def test_a_short_generator_trains_on_a_smaller_pool():
    batches = lambda: ((X[i : i + 16], Y[i : i + 16]) for i in range(0, N, 16))  # noqa: E731
    draws = []
    count = lambda draw, _: draws.append((len(draw), draw.pool_size))  # noqa: E731
    training = ImportanceTraining(classifier(), "oracle", presample=1024, on_step=count)
    training.fit(batches(), steps_per_epoch=1, verbose=0)
    assert draws == [(16, N)]


def test_uniform_takes_batches_as_they_come():
    """Of any size and width, as plain fit."""
    samples = lambda: ((np.ones(3 if i < 60 else 5, "int32"), Y[i]) for i in range(N))  # noqa: E731
    signature = (tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int64))
    data = tf.data.Dataset.from_generator(samples, output_signature=signature).padded_batch(20)
    results = []
    for fit in (lambda m: m.fit, lambda m: uniform(m).fit):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((None,)), L.Embedding(5, 4), L.GlobalAveragePooling1D(), L.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        results.append(fit(model)(data, shuffle=False, steps_per_epoch=5, verbose=0).history["loss"][0])
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    with pytest.raises(ValueError, match="`x` must give samples of one shape"):
        ImportanceTraining(model, "oracle", presample=80).fit(data, steps_per_epoch=5, verbose=0)


@pytest.mark.parametrize("importance", ["uniform", "oracle"])
@pytest.mark.parametrize("kind", ["array", "tensor", "tf.data", "callback"])
def test_text(kind, importance):
    words = np.array(["a", "b", "c"])[Y]
    inputs = keras.Input((), dtype="string")
    hidden = L.CategoryEncoding(4, output_mode="one_hot")(L.StringLookup(vocabulary=["a", "b", "c"])(inputs))
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(hidden))
    model.compile(keras.optimizers.SGD(2.0), "sparse_categorical_crossentropy")
    dataset = tf.data.Dataset.from_tensor_slices((words, Y)).batch(32)
    if kind == "callback":
        history = model.fit(dataset, epochs=3, shuffle=False, callbacks=[ImportanceSampling(16, importance)], verbose=0)
    else:
        data = {"array": dict(x=words, y=Y), "tensor": dict(x=tf.constant(words), y=Y), "tf.data": dict(x=dataset)}[kind]
        history = ImportanceTraining(model, importance, presample=48, seed=0).fit(**data, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_items_of_pairs_may_come_with_their_targets():
    items = [(X[i], Y[i]) for i in range(N)]
    x, y, _ = ItemSource(items, Y)[np.array([5, 2])]
    np.testing.assert_array_equal(x, X[[5, 2]])
    np.testing.assert_array_equal(y, Y[[5, 2]])
    model = classifier()
    training = ImportanceTraining(model, small_lstm(), presample=48, seed=0)
    training.fit(ItemSource(items, Y), batch_size=16, verbose=0)
    with pytest.raises(ValueError, match="`y` must be in the source. Received: x=ArraySource, y=ndarray"):
        training.fit(ArraySource(X, Y), Y, verbose=0)


@pytest.mark.parametrize("y", [np.where(Y == 1, np.nan, Y), Y.astype(str)], ids=["nan", "text"])
def test_bad_targets_are_found_in_every_kind_of_data(y):
    items = [X[i] for i in range(N)]
    whole = tf.data.Dataset.from_tensor_slices((X, y)).batch(32)

    class Items:
        __len__ = lambda self: N  # noqa: E731
        __getitem__ = lambda self, i: items[i]  # noqa: E731

    for fit in (
        lambda model: uniform(model).fit(X, y, verbose=0),
        lambda model: uniform(model).fit(Items(), y, verbose=0),
        lambda model: uniform(model).fit(whole, verbose=0),
        lambda model: model.fit(whole, shuffle=False, callbacks=[ImportanceSampling(16, "uniform")], verbose=0),
    ):
        with pytest.raises(ValueError, match="`y` must be finite|`y` must be numbers"):
            fit(classifier())


def test_samples_that_are_not_batched_are_refused_with_a_sentence():
    with pytest.raises(ValueError, match="`y` must be an array with the samples along its first axis"):
        uniform(classifier()).fit(tf.data.Dataset.from_tensor_slices((X, Y)), verbose=0)


def test_numbers_that_are_no_classes_do_not_make_a_huge_table():
    y = (np.arange(N) * 50_000).astype(np.int64)
    model = keras.Sequential([L.Dense(1)])
    model.compile("sgd", "mae")
    assert np.isfinite(ImportanceTraining(model, small_lstm(), presample=48).fit(X, y, verbose=0).history["loss"][0])
    with pytest.raises(ValueError, match="`y` must be class ids below 1000000. Received: y="):
        model.fit(X, y, batch_size=48, callbacks=[ImportanceSampling(16, "pcg")], verbose=0)


def test_bytes_keep_the_zeros_at_their_end():
    """Pictures and sound are read as bytes, to be decoded after the choice."""
    raw = RNG.integers(0, 3, (32, 4)).astype(np.uint8)
    expected, found = raw.sum(axis=1), []
    items = [(row.tobytes(), int(row.sum())) for row in raw]
    column = np.array([row.tobytes() for row in raw], object)

    def decode(x, y):
        return tf.ensure_shape(tf.cast(tf.io.decode_raw(x, tf.uint8), tf.float32), (4,)), y

    keep = lambda draw, _: found.append((draw.indices, draw.read()[0].numpy().sum(axis=1)))  # noqa: E731
    for data in (
        dict(x=ItemSource(items), batch_size=8),
        dict(x=column, y=expected, batch_size=8),
        dict(x=tf.constant(column), y=expected, batch_size=8),
        dict(x=tf.data.Dataset.from_tensor_slices((column, expected)).batch(8)),
    ):
        model = keras.Sequential([keras.Input((4,)), L.Dense(1)])
        model.compile("sgd", "mse")
        found.clear()
        ImportanceTraining(model, "uniform", map=decode, on_step=keep).fit(**data, verbose=0)
        for indices, sums in found:
            np.testing.assert_array_equal(sums, expected[indices])
        assert len(found) == 4


def test_a_column_of_tuples_is_no_pair():
    class Table:
        def __len__(self):
            return 20

        def __getitem__(self, key):
            return np.zeros(20) if key == "label" else {"pair": (np.ones(2), np.zeros(3), 7.0), "label": 0.0}

    x, _, weights = ItemSource(Table(), "label")[np.arange(2)]
    assert [part.shape for part in x] == [(2, 2), (2, 3), (2,)] and weights is None


@pytest.mark.parametrize("weights", [np.ones(30), np.ones(10), [np.ones(N)] * 2], ids=["long", "short", "nested"])
def test_weights_beside_items_must_fit_them(weights):
    class Items:
        __len__ = lambda self: N  # noqa: E731
        __getitem__ = lambda self, i: (X[i], Y[i])  # noqa: E731

    with pytest.raises(ValueError, match=r"`sample_weight` must be an array of shape \(96,\) beside single samples"):
        uniform(classifier()).fit(Items(), sample_weight=weights, verbose=0)


def test_class_weight_of_classes_below_zero():
    y = 2.0 * (Y == 0) - 1
    model = keras.Sequential([keras.Input((2,)), L.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "hinge")
    arguments = dict(x=X, y=y, class_weight={-1: 3.0, 1: 0.5}, batch_size=N, verbose=0)
    expected = model.fit(**arguments).history["loss"]
    assert uniform(model).fit(**arguments).history["loss"] == pytest.approx(expected, rel=1e-5)
