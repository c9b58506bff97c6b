"""`fit` on one chunk of new data after another, and deep copies: nothing is compiled anew, nothing stays, nothing is shared."""

import copy
import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceSampling, ImportanceTraining, LSTMImportance, Oracle, with_indices
from importance_sampling.model.loss_network import Learnt, from_state, state_of
from importance_sampling.model.loss_steps import adam_step
from tests.checks import assert_equal_weights
from tests.models import classifier, small_lstm

CHUNKS, WARM = 20, 6  # the first chunks show the sizes and classes that come again
IMPORTANCES = {"approx": small_lstm, "oracle": lambda: "oracle", "pcg": lambda: "pcg", "uniform": lambda: "uniform"}
LEARNING = {**IMPORTANCES, "gnorm": lambda: "gnorm", "full_gnorm": lambda: "full_gnorm"}
FITTING = dict(batch_size=16, verbose=0)


def chunk(i):
    """Other samples each time; their number changes, and the last class is missing now and then."""
    rng = np.random.default_rng(i)
    size = (48, 60, 72)[i % 3]
    return rng.normal(size=(size, 2)).astype("float32"), rng.integers(0, 3 if i % 2 else 2, size)


def live():
    """How many objects there are of the kinds that stay when something is compiled or kept for each chunk."""
    gc.collect()
    kinds = (tf.Variable, tf.Graph, tf.data.Dataset, keras.Model, keras.Variable)
    return [sum(issubclass(type(found), kind) for found in gc.get_objects()) for kind in kinds]


@pytest.fixture
def tracings(monkeypatch):
    """Counts the Python functions that TensorFlow traces; data sets are not among them."""
    traced = []
    as_is = tf.Graph.as_default

    def counted(graph):
        traced.append(graph)
        return as_is(graph)

    monkeypatch.setattr(tf.Graph, "as_default", counted)
    return traced


@pytest.mark.parametrize(
    ("importance", "extras"), [*((name, {}) for name in IMPORTANCES), ("pcg", {"map": True, "validation_split": 0.25})], ids=str
)
def test_chunk_after_chunk_costs_neither_compilation_nor_memory(importance, extras):
    traced = []

    def noted(x, y):
        traced.append("map")
        return x, y

    class Noting(keras.layers.Layer):
        def call(self, x):
            traced.append("model")
            return x

    model = keras.Sequential([keras.Input((2,)), Noting(), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    training = ImportanceTraining(model, IMPORTANCES[importance](), presample=32, map=noted if "map" in extras else None, seed=0)
    arrays, before = [], None
    for i in range(CHUNKS):
        if i == WARM:
            before, known = live(), len(traced)
            assert known
        x, y = chunk(i)
        arrays.append((weakref.ref(x), weakref.ref(y)))
        training.fit(x, y, validation_split=extras.get("validation_split", 0.0), **FITTING)
    del x, y
    assert len(traced) == known
    assert live() == before
    assert [x() is None and y() is None for x, y in arrays] == [True] * (CHUNKS - 1) + [False]  # the last are known again


def test_the_default_importance_compiles_once_for_all_chunks(tracings):
    training = ImportanceTraining(classifier(), presample=32, seed=0)
    training.fit(*chunk(0), **FITTING)
    del tracings[:]
    for i in range(1, 4):
        training.fit(*chunk(3 * i), **FITTING)
    assert not [graph for graph in tracings if len(graph.get_operations()) > 20]


def test_two_lstms_of_the_same_sizes_share_no_state():
    """Against one that learns alone."""

    def learnt(companion):
        lstms = [LSTMImportance(history=2, units=4, jit_compile=False) for _ in range(2 if companion else 1)]
        for i, lstm in enumerate(lstms):
            lstm.build(8, 2, seed=i)
        for step in range(5):
            for i, lstm in enumerate(lstms):
                lstm.update(np.arange(8), np.arange(8) % 2, np.arange(8.0) + i + step)
        return lstms[0].network.get_weights()

    for alone, beside in zip(learnt(False), learnt(True)):
        np.testing.assert_array_equal(alone, beside)


def test_adam_is_that_of_keras_and_its_state_in_the_same_order():
    shapes, rng = [(2, 3), (4,)], np.random.default_rng(0)
    variables = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in shapes]
    adam = keras.optimizers.Adam(0.01)
    adam.build(variables)
    flat = lambda tensors: tf.concat([tf.reshape(t, (-1,)) for t in tensors], axis=0)  # noqa: E731
    weights = flat(variables)
    learnt = Learnt(weights, 0 * weights, 0 * weights, tf.constant(0, tf.int64), tf.constant(0.01))
    for _ in range(5):
        gradients = [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]
        adam.apply(gradients, variables)
        learnt = adam_step(learnt, flat(gradients))
    state = state_of(learnt, shapes)
    for part, theirs in (("network", variables), ("optimizer", adam.variables)):
        assert list(state[part]) == [str(i) for i in range(len(theirs))]
        for ours, variable in zip(state[part].values(), theirs):
            assert ours.dtype == variable.dtype
            np.testing.assert_allclose(ours, variable.numpy(), rtol=1e-5)
    again = from_state(state, shapes)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(again, learnt))


def test_a_state_of_another_network_is_refused():
    lstm, other = small_lstm(), small_lstm(units=5)
    lstm.build(8, 2, seed=0)
    other.build(8, 2, seed=0)
    with pytest.raises(ValueError, match="`state` must be of a loss network with weights of shapes"):
        lstm.set_state(other.get_state())


@pytest.mark.parametrize("importance", LEARNING)
def test_a_copied_training_goes_on_as_the_original_would_and_apart_from_it(importance, blobs):
    x, y = blobs
    training = ImportanceTraining(classifier(optimizer="adam"), LEARNING[importance](), presample=64, k=0.25, seed=0)
    arguments = dict(x=x, y=y, batch_size=32, validation_split=0.1, verbose=0)
    training.fit(**arguments)
    weights, state = training.model.get_weights(), copy.deepcopy(training.get_state())
    copied = copy.deepcopy(training)
    assert copied.model is not training.model
    copied.fit(**arguments)
    assert_equal_weights(training.model, weights)
    np.testing.assert_equal(training.get_state(), state)
    training.fit(**arguments)
    assert_equal_weights(training.model, copied.model.get_weights())
    np.testing.assert_equal(training.get_state(), copied.get_state())
    assert copied.sampler.k == 0.25


def test_a_copied_training_of_batches_reads_them_for_itself(blobs):
    batches = tf.data.Dataset.from_tensor_slices(blobs).batch(50)
    training = ImportanceTraining(classifier(), "pcg", presample=100, map=lambda x, y: (x, y), seed=0)
    training.fit(batches, verbose=0)
    copied = copy.deepcopy(training)
    for each in (training, copied):
        each.fit(batches, verbose=0)
    assert_equal_weights(training.model, copied.model.get_weights())


def test_a_training_is_copied_before_it_is_used(blobs):
    copied = copy.deepcopy(ImportanceTraining(classifier(), Oracle(classifier()), presample=64, seed=0))
    copied.fit(*blobs, **FITTING)


def test_a_model_that_keras_cannot_copy_is_named():
    class Own(keras.Model):
        def __init__(self, units, **options):
            super().__init__(**options)
            self.dense = keras.layers.Dense(units)

        def call(self, x):
            return self.dense(x)

    model = Own(2)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`model` must be one that Keras can save and load, to be copied.*Received: Own"):
        copy.deepcopy(ImportanceTraining(model, "uniform"))


def indexed(x, y):
    return with_indices(tf.data.Dataset.from_tensor_slices((x, y))).batch(64)


def fit_with(callback, model, x, y):
    model.fit(indexed(x, y), shuffle=False, callbacks=[callback], verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("importance", LEARNING)
def test_a_copied_callback_works_with_any_model_and_holds_none(importance, blobs):
    callback = ImportanceSampling(16, LEARNING[importance](), k=0.25, seed=0)
    model = classifier()
    start = model.get_weights()
    expected = fit_with(callback, model, *blobs)
    learnt = callback.sampler.get_state()
    copied, again, last = (copy.deepcopy(callback) for _ in range(3))
    np.testing.assert_equal(copied.sampler.get_state(), learnt)

    other = classifier()  # where it begins anew
    other.set_weights(start)
    for ours, theirs in zip(fit_with(copied, other, *blobs), expected):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_equal(callback.sampler.get_state(), learnt)

    fit_with(callback, model, *blobs)  # with the same model the two go on alike
    assert model.optimizer is not other.optimizer
    held = weakref.ref(model)
    model.set_weights(expected)
    fit_with(again, model, *blobs)
    np.testing.assert_equal(again.sampler.get_state(), callback.sampler.get_state())

    del model, callback, again
    gc.collect()
    assert held() is None
    fit_with(last, classifier(), *blobs)


def test_a_copied_callback_keeps_the_functions_of_the_user(blobs):
    seen = []
    functions = dict(map=lambda x, y: (2 * x, y), on_step=lambda draw, losses: seen.append(len(draw)))
    callback = ImportanceSampling(16, "pcg", seed=0, **functions)
    fit_with(callback, classifier(), *blobs)
    steps = len(seen)
    fit_with(copy.deepcopy(callback), classifier(), *blobs)
    assert len(seen) == 2 * steps
