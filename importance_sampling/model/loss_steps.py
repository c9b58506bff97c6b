"""Predicting and learning by the loss network, compiled: pure functions of its weights, the state of Adam and the inputs.

They compute what `LossNetwork` does layer by layer, in the forms that start soonest and run fastest on a CPU. They depend on its
sizes alone, so all networks of the same sizes share them: new data, or another training, compile nothing anew.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from importance_sampling.model.loss_network import Learnt, LossNetwork, parts

_LARGEST_GRADIENT = 10.0  # norm; with losses around 1 it stays below
_KEPT = 32  # kinds of networks whose compiled functions are kept


class Compiled(NamedTuple):
    """Two functions of tensors, of a network of some sizes, for any n.

    Attributes:
        predict: `(weights, losses, count, labels)` to `(n,)` predicted losses.
        fit: `(learnt, losses, count, labels, targets, known)` to the next `Learnt`.
    """

    predict: Callable
    fit: Callable


@functools.lru_cache(_KEPT)
def compiled(sizes, jit_compile):
    """The functions for networks of these `Sizes`. XLA compiles the prediction, once for each n, in about half a second."""
    shapes = [w.shape for w in LossNetwork(sizes, seed=0).weights]

    def predict(weights, losses, count, labels):
        """Both LSTMs in one loop over time, which keeps the state of the last real entry."""
        lower, upper, head = _layers(parts(weights, shapes))
        nothing = tf.zeros((tf.shape(losses)[0], sizes.units))
        by_time = tf.transpose(losses)  # (H, n)

        def later(t, below, above, last):
            below = _cell(by_time[t][:, None], below, lower)
            above = _cell(below[0], above, upper)
            return t + 1, below, above, tf.where((count - 1 == t)[:, None], above[0], last)

        begin = (0, (nothing, nothing), (nothing, nothing), nothing)
        *_, last = tf.while_loop(lambda t, *_: t < sizes.history, later, begin, maximum_iterations=sizes.history)
        return _linear(last, labels, head)

    def errors(weights, losses, count, labels, targets, known):
        """The squared error (eq. 17) over the known targets, by TensorFlow's own op for an LSTM, which has a gradient."""
        lower, upper, head = _layers(parts(weights, shapes))
        states = _lstm(_lstm(tf.transpose(losses)[:, :, None], *lower), *upper)  # (H, n, units)
        # An LSTM is causal: its state at the last real entry has seen no padding. count = 0 picks the zero state.
        last = tf.einsum("nh,hnu->nu", tf.one_hot(count - 1, sizes.history), states)
        return tf.reduce_sum(tf.square(_linear(last, labels, head) - targets) * known) / tf.maximum(tf.reduce_sum(known), 1)

    def fit(learnt, *batch):
        """One step of Adam on the squared error."""
        with tf.GradientTape() as tape:
            tape.watch(learnt.weights)
            error = errors(learnt.weights, *batch)
        gradient = tape.gradient(error, learnt.weights)
        norm = tf.norm(gradient)  # a single huge loss must not spoil the network for good
        factor = tf.where(tf.math.is_finite(norm), _LARGEST_GRADIENT / tf.maximum(norm, _LARGEST_GRADIENT), 0.0)
        return adam_step(learnt, tf.where(tf.math.is_finite(norm), gradient, 0.0) * factor)

    vector, rows, ids = _floats(sum(map(math.prod, shapes))), _floats(None), tf.TensorSpec((None,), tf.int32)
    inputs = (_floats(None, sizes.history), ids, ids)
    learnt = Learnt(vector, vector, vector, tf.TensorSpec((), tf.int64), _floats())
    return Compiled(
        tf.function(predict, jit_compile=jit_compile).get_concrete_function(vector, *inputs),
        tf.function(fit).get_concrete_function(learnt, *inputs, rows, rows),
    )


def adam_step(learnt, gradient, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Algorithm 1 of arXiv:1412.6980 as a pure function, with the order of operations of Keras, whose own needs variables.

    Args:
        learnt: a `Learnt`.
        gradient: `(P,)` float32.
    """
    w, m, v, step, learning_rate = learnt
    t = tf.cast(step + 1, tf.float32)
    rate = learning_rate * tf.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    m = m + (gradient - m) * (1 - beta_1)
    v = v + (tf.square(gradient) - v) * (1 - beta_2)
    return Learnt(w - m * rate / (tf.sqrt(v) + epsilon), m, v, step + 1, learning_rate)


def predictions(functions, weights, inputs, rows):
    """Of `Compiled`, for any n: `(n,)` float32.

    Args:
        functions: a `Compiled`.
        weights: `(P,)` tensor.
        inputs: arrays of losses `(n, H)`, counts `(n,)` and class ids `(n,)`.
        rows: how many are predicted at once.
    """
    n = len(inputs[0])
    starts = range(0, max(n, 1), rows)
    parts = [functions.predict(weights, *tensors(*padded([array[i : i + rows] for array in inputs], rows))) for i in starts]
    return np.concatenate([part.numpy() for part in parts])[:n]


def padded(arrays, least):
    """Arrays `(n, ...)` with zeros after them, up to a power of 2 not below `least`: few sizes, since XLA compiles for each."""
    n = len(arrays[0])
    missing = (1 << (max(n, least) - 1).bit_length()) - n
    return [np.pad(a, [(0, missing), *[(0, 0)] * (a.ndim - 1)]) for a in arrays]


def tensors(*arrays):
    """NumPy arrays for the functions of `Compiled`."""
    return [tf.constant(array) for array in arrays]


def _layers(weights):
    """Of the weights of a `LossNetwork`: kernel over recurrent kernel, and bias, of both LSTMs; and what follows them."""
    (*lower, lower_bias), (*upper, upper_bias) = weights[:3], weights[3:6]
    return (tf.concat(lower, axis=0), lower_bias), (tf.concat(upper, axis=0), upper_bias), weights[6:]


def _cell(inputs, state, layer):
    """One step of an LSTM: `(n, inputs)` and the `(n, units)` output and cell before it, to those after it."""
    (output, cell), (kernel, bias) = state, layer
    entry, kept, new, shown = tf.split(tf.concat([inputs, output], axis=1) @ kernel + bias, 4, axis=1)
    cell = tf.sigmoid(kept) * cell + tf.sigmoid(entry) * tf.tanh(new)
    return tf.sigmoid(shown) * tf.tanh(cell), cell


def _lstm(inputs, kernel, bias):
    """`(H, n, inputs)` to `(H, n, units)`. The op has another order of gates than Keras; the gradient of `BlockLSTMV2` is wrong."""
    steps, n, units = inputs.shape[0], tf.shape(inputs)[1], kernel.shape[1] // 4
    nothing, no_peephole = tf.zeros((n, units)), tf.zeros(units)
    return tf.raw_ops.BlockLSTM(
        seq_len_max=tf.constant(steps, tf.int64),
        x=inputs,
        cs_prev=nothing,
        h_prev=nothing,
        w=_cell_before_forgetting(kernel),
        wci=no_peephole,
        wcf=no_peephole,
        wco=no_peephole,
        b=_cell_before_forgetting(bias),
        forget_bias=0.0,
        cell_clip=-1.0,
        use_peephole=False,
    ).h


def _cell_before_forgetting(weights):
    entry, kept, new, shown = tf.split(weights, 4, axis=-1)
    return tf.concat([entry, new, kept, shown], axis=-1)


def _linear(last, labels, head):
    """The linear layer on the last state and, if there are classes, their embedding: `(n,)`."""
    *table, kernel, bias = head
    features = tf.concat([last, tf.gather(table[0], labels)], axis=1) if table else last
    return (features @ kernel + bias)[:, 0]


def _floats(*shape):
    return tf.TensorSpec(shape, tf.float32)
