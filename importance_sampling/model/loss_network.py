"""The loss network of the paper (section 3.3), and what one has learnt. What is compiled of it is in `loss_steps`."""

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf


class Sizes(NamedTuple):
    """What the shapes of the weights depend on: H, the units of both LSTMs, D of the embedding, and the number of classes."""

    history: int
    units: int
    embedding: int
    classes: int


class LossNetwork(keras.Model):
    """M(i, y_i, H): `(n, H)` losses, `(n,)` counts and `(n,)` class ids to `(n,)` predicted losses.

    Every layer has its name, dtype and seed given: no policy and no random state of the user's is touched.
    """

    def __init__(self, sizes, seed):
        super().__init__(name="loss_network", dtype="float32")
        history, units, embedding, classes = sizes
        first, second, third, fourth = np.random.SeedSequence(seed).generate_state(4)
        self._history = history
        self._lower = _lstm("lower_lstm", units, first)
        self._upper = _lstm("upper_lstm", units, second)
        self._classes = classes and keras.layers.Embedding(
            classes,
            embedding,
            embeddings_initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=int(third)),
            name="class_embedding",
            dtype="float32",
        )
        self._linear = keras.layers.Dense(
            1, kernel_initializer=keras.initializers.GlorotUniform(seed=int(fourth)), name="linear", dtype="float32"
        )
        self.build()

    def build(self, input_shape=None):
        """Makes the variables, layer by layer: to call the network for it would cost a second."""
        width = self._lower.units
        self._lower.build((None, self._history, 1))
        self._upper.build((None, self._history, width))
        if self._classes:
            self._classes.build((None,))
            width += self._classes.output_dim
        self._linear.build((None, width))
        self.built = True

    def call(self, losses, count, labels):
        states = self._upper(self._lower(losses[:, :, None]))  # (n, H, units)
        # An LSTM is causal: its state at the last real entry has seen no padding. count = 0 picks the zero state.
        last = tf.one_hot(count - 1, self._history)  # (n, H)
        features = tf.einsum("nh,nhu->nu", last, states)
        if self._classes:
            features = tf.concat([features, self._classes(labels)], axis=1)
        return self._linear(features)[:, 0]


class Learnt(NamedTuple):
    """The weights of a network, one after another in a vector of P numbers, and the state of Adam.

    Attributes:
        weights, momentum, velocity: `(P,)` float32 tensors.
        step: int64 tensor, how many steps Adam has made.
        learning_rate: float32 tensor.
    """

    weights: tf.Tensor
    momentum: tf.Tensor
    velocity: tf.Tensor
    step: tf.Tensor
    learning_rate: tf.Tensor


def start(network, learning_rate):
    """The `Learnt` of a network that has learnt nothing."""
    weights = tf.concat([tf.reshape(w.value, (-1,)) for w in network.weights], axis=0)
    nothing = tf.zeros_like(weights)
    return Learnt(weights, nothing, nothing, tf.constant(0, tf.int64), tf.constant(learning_rate, tf.float32))


def predicting(learnt, value):
    """A `Learnt` that predicts about that value for every sample: the last weight is the bias of the linear layer."""
    return learnt._replace(weights=tf.concat([learnt.weights[:-1], [value]], axis=0))


def state_of(learnt, shapes):
    """A `Learnt` as arrays in the order of Keras: those of the weights, and of `keras.optimizers.Adam`."""
    weights, *moments = [[part.numpy() for part in parts(vector, shapes)] for vector in learnt[:3]]
    adam = [learnt.step.numpy(), learnt.learning_rate.numpy(), *(array for pair in zip(*moments) for array in pair)]
    return {name: {str(i): a for i, a in enumerate(arrays)} for name, arrays in (("network", weights), ("optimizer", adam))}


def from_state(state, shapes):
    """The `Learnt` that `state_of` was given.

    Raises:
        ValueError: the state is of a network of other sizes.
    """
    weights, (step, learning_rate, *moments) = [[state[p][str(i)] for i in range(len(state[p]))] for p in ("network", "optimizer")]
    expected, received = [list(map(tuple, shapes))] * 3, [list(map(np.shape, a)) for a in (weights, moments[::2], moments[1::2])]
    if received != expected:
        raise ValueError(f"`state` must be of a loss network with weights of shapes {expected[0]}. Received: {received[0]}")
    vectors = [np.concatenate([np.ravel(a) for a in arrays]) for arrays in (weights, moments[::2], moments[1::2])]
    floats = [tf.constant(vector, tf.float32) for vector in vectors]
    return Learnt(*floats, tf.constant(step, tf.int64), tf.constant(learning_rate, tf.float32))


def parts(vector, shapes):
    """A vector `(P,)` as tensors of those shapes."""
    pieces = tf.split(vector, [math.prod(shape) for shape in shapes])
    return [tf.reshape(piece, shape) for piece, shape in zip(pieces, shapes)]


def _lstm(name, units, seed):
    seeds = [int(s) for s in np.random.SeedSequence(int(seed)).generate_state(3)]
    return keras.layers.LSTM(
        units,
        return_sequences=True,
        kernel_initializer=keras.initializers.GlorotUniform(seed=seeds[0]),
        recurrent_initializer=keras.initializers.Orthogonal(seed=seeds[1]),
        seed=seeds[2],
        name=name,
        dtype="float32",
    )
