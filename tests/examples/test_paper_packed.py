"""The LSTM layers without padding, against those of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from examples.paper.packed import PackedLSTM

WORDS, TIMES, UNITS = 30, 6, 5
LENGTHS = {
    "of all lengths, in no order": [3, 0, 6, 1, 6, 2, 5, 4, 0, 6],
    "of one word at the most": [0, 1, 1, 0],
    "without padding": [6, 6, 6],
    "of padding only": [0, 0],
    "alone": [4],
}


def stacked(lstm):
    """A language model on an embedding that masks the word 0."""
    return keras.Sequential([keras.Input((TIMES,), dtype="int32"), keras.layers.Embedding(WORDS, 4, mask_zero=True), *lstm])


def twins():
    """Ours and that of Keras, with the same weights."""
    ours = stacked([PackedLSTM(UNITS, layers=2, dropout=0.5)])
    theirs = stacked([keras.layers.LSTM(UNITS, return_sequences=True), keras.layers.LSTM(UNITS)])
    theirs.set_weights([variable.numpy() for variable in ours.trainable_variables])
    return ours, theirs


def contexts(lengths):
    rng = np.random.default_rng(0)
    x = rng.integers(1, WORDS, (len(lengths), TIMES))
    return np.where(np.arange(TIMES) >= TIMES - np.array(lengths)[:, None], x, 0)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_states_and_gradients_are_those_of_keras(lengths):
    x = contexts(lengths)
    factors = np.random.default_rng(1).normal(size=(len(x), UNITS))  # tell every state of every sequence apart

    def found(model):
        with tf.GradientTape() as tape:
            states = model(x, training=False)
            loss = tf.reduce_sum(states * tf.constant(factors, states.dtype))
        weights = [variable.value for variable in model.trainable_variables]
        return states, [tf.convert_to_tensor(g) for g in tape.gradient(loss, weights)]

    (ours, our_gradients), (theirs, their_gradients) = map(found, twins())
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for one, other in zip(our_gradients, their_gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.all(np.asarray(ours)[np.array(lengths) == 0] == 0)


def test_a_graph_takes_batches_of_any_size():
    ours, _ = twins()
    graph = tf.function(lambda x: ours(x, training=False), input_signature=[tf.TensorSpec((None, TIMES), tf.int32)])
    for lengths in LENGTHS.values():
        np.testing.assert_allclose(graph(contexts(lengths)), ours(contexts(lengths), training=False), atol=1e-6)


def test_padding_elsewhere_is_refused():
    layer, x = PackedLSTM(UNITS, layers=1, dropout=0.0), np.zeros((1, 3, 2), "float32")
    for mask in ([True, True, False], [True, False, True]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`mask` must be False at the beginning of a sequence only"):
            layer(x, mask=np.array([mask]))


@pytest.mark.parametrize(("policy", "dtype"), [("float64", "float64"), ("mixed_float16", "float16")])
def test_the_policy_of_the_layer_is_that_of_its_parts(policy, dtype):
    layer = PackedLSTM(UNITS, layers=2, dropout=0.5, dtype=policy)
    states = layer(np.ones((4, TIMES, 3)), mask=contexts([2, 0, 6, 1]) > 0, training=True)
    assert states.dtype == dtype and {variable.dtype for variable in layer.trainable_variables} == {layer.variable_dtype}


def test_dropout_comes_after_each_layer_and_only_in_training():
    """Half of the last states are dropped, and the states between the layers are too: what is left differs from twice as much."""
    x, (ours, _) = contexts([6] * 400), twins()
    plain, trained = np.asarray(ours(x, training=False)), np.asarray(ours(x, training=True))
    np.testing.assert_array_equal(plain, np.asarray(ours(x)))
    kept = trained != 0
    assert kept.mean() == pytest.approx(0.5, abs=0.05)  # 2,000 states: the deviation is 0.011
    assert np.mean(np.isclose(trained[kept], 2 * plain[kept], rtol=1e-3)) < 0.1


def test_without_a_mask_every_place_is_a_word():
    layer, x = PackedLSTM(UNITS, layers=2, dropout=0.0), np.random.default_rng(0).normal(size=(4, TIMES, 3)).astype("float32")
    np.testing.assert_array_equal(layer(x), layer(x, mask=np.ones((4, TIMES), bool)))
    assert layer.compute_output_shape(x.shape) == (4, UNITS)
