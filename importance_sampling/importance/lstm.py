"""The paper's approximation: a small LSTM predicts the loss from the history of losses and the class (section 3.3).

The network is Keras, the history numpy. Two functions of the network are compiled, predicting and fitting.
"""

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.history import LossHistory
from importance_sampling.types import State

_LARGEST_GRADIENT = 10.0  # norm; with losses around 1 it stays below


class LSTM:
    """Two stacked LSTMs over a sample's last losses, beside an embedding of its class, and one linear layer.

    Trained on every batch by Adam and the squared error: the losses of the batch are the targets, the history before
    them is the input (line 9 of Algorithm 1, eq. 17); then the losses join the history (line 10).

    With the first batch its predictions become about the mean of that batch, for every sample. Losses of another order of
    magnitude than the paper's (that mean outside 0.1 to 10) are divided by it, here inside, and the norm of the gradient is
    bounded, so that neither unit nor outlier keeps the network from learning.

    Cost: with the paper's sizes, a presample of 1,024 and a batch of 128, about 5 ms to score and 4 ms to learn on two
    CPU cores, and some 6 seconds once to compile. Memory: 44 bytes a sample.

    Args:
        history: H, how many losses of each sample are kept.
        units: size of both LSTMs.
        embedding: D, size of the class embedding.
        classes: number of classes; None takes it from the labels, and leaves the embedding out where the data have no classes
            (regression, several outputs, several labels); 0 leaves it out in any case.
        learning_rate: of Adam.
        of: what is predicted, `"loss"` or `"gnorm"` (the gradient-norm bound, from the same backward pass).
        jit_compile: compile with XLA. Without it a step costs about twice as much, but starting takes 2 seconds only.

    Raises:
        ValueError: a size below 1, `classes` below 0, a learning rate that is not positive, or `of` unknown.

    Example:
        >>> from importance_sampling import ImportanceTraining
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="softmax")])
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> training = ImportanceTraining(model, importance=LSTM(history=2, units=4), presample=8, seed=0)
        >>> history = training.fit(np.ones((16, 2)), np.arange(16) % 3, batch_size=4, verbose=0)

    References:
        Sections 3.3 and 4 of arXiv:1706.00043.
    """

    def __init__(self, history=10, units=32, embedding=32, classes=None, learning_rate=1e-3, of="loss", jit_compile=True):
        for name, value in (("history", history), ("units", units), ("embedding", embedding)):
            if value < 1:
                raise ValueError(f"`{name}` must be >= 1. Received: {name}={value}")
        if classes is not None and classes < 0:
            raise ValueError(f"`classes` must be >= 0 or None. Received: classes={classes}")
        if not learning_rate > 0:
            raise ValueError(f"`learning_rate` must be > 0. Received: learning_rate={learning_rate}")
        if of not in ("loss", "gnorm"):
            raise ValueError(f"`of` must be 'loss' or 'gnorm'. Received: of={of!r}")
        self.history = history
        self.units = units
        self.embedding = embedding
        self.classes = classes
        self.learning_rate = learning_rate
        self.of = of
        self.jit_compile = jit_compile

    uses_indices = True

    @property
    def uses_labels(self):
        return self.classes != 0

    @property
    def needs_labels(self):
        return bool(self.classes)

    def build(self, size, classes, seed):
        """Starts an empty history of `size` samples and an untrained network.

        Raises:
            ValueError: the labels need more classes than the `classes` given to the constructor.
        """
        if classes is None and self.classes is None:
            raise ValueError(
                "`classes` must be given where the labels come with the batches, 0 for data without classes. Received: classes=None"
            )
        if self.classes and classes and classes > self.classes:
            raise ValueError(f"`y` must be class ids in [0, {self.classes}). Received: y={classes - 1}")
        classes = classes if self.classes is None else self.classes
        self.losses = LossHistory(size, self.history)
        self.network = _Network(self.history, self.units, self.embedding, classes, seed)
        self._optimizer = keras.optimizers.Adam(self.learning_rate, name="loss_network_adam")
        self._optimizer.build(self.network.trainable_variables)
        self._built_for = classes
        self._scale = None
        self._predict = tf.function(self.network, jit_compile=self.jit_compile)
        self._fit = tf.function(self._fit_batch, jit_compile=self.jit_compile)

    def score(self, pool):
        """Returns `(B,)` float32, the predicted loss, at least 0."""
        predicted = self._predict(*_padded(self._inputs(pool.indices, pool.labels))).numpy()[: len(pool)]
        return np.maximum(predicted, 0) * (self._scale or 1.0)

    def update(self, indices, labels, values):
        """Learns from one batch, then adds it to the history. Values that are not finite are left out of both.

        Args:
            indices: `(b,)` ints.
            labels: `(b,)` class ids, or None without classes.
            values: `(b,)` losses or gradient norms.
        """
        values = np.asarray(values, np.float32)
        finite = np.isfinite(values)
        if self._scale is None and finite.any():
            self._begin(float(np.mean(values[finite], dtype=np.float64)))
        targets = np.where(finite, values, 0) / np.float32(self._scale or 1.0)
        self._fit(*_padded((*self._inputs(indices, labels), targets, finite.astype(np.float32))))
        self.losses.append(indices, values)

    def get_state(self) -> State:
        return {
            "history": self.losses.get_state(),
            "network": {str(i): w for i, w in enumerate(self.network.get_weights())},
            "optimizer": {str(i): v.numpy() for i, v in enumerate(self._optimizer.variables)},
            "scale": self._scale or 0.0,
        }

    def set_state(self, state):
        self.losses.set_state(state["history"])
        self.network.set_weights([state["network"][str(i)] for i in range(len(state["network"]))])
        for i, variable in enumerate(self._optimizer.variables):
            variable.assign(state["optimizer"][str(i)])
        self._scale = float(state["scale"]) or None

    def _begin(self, mean):
        """Chooses the unit, and makes the predictions about the mean of the first batch, for every sample.

        From 0 the network would first learn how large losses are, most quickly for the classes it sees most often: until
        then it would call the frequent classes, which are the easy ones, hard.
        """
        self._scale = _scale(mean)
        self.network.start_at(mean / self._scale)

    def _inputs(self, indices, labels):
        losses, count = self.losses.window(indices)
        if self._built_for and labels.max() >= self._built_for:
            raise ValueError(f"`y` must be class ids below `classes`, {self._built_for}. Received: y={labels.max()}")
        ids = labels.astype(np.int32) if self._built_for else np.zeros(len(indices), np.int32)
        return losses / np.float32(self._scale or 1.0), count, ids

    def _fit_batch(self, losses, count, labels, targets, known):
        """One step of Adam on the squared error (eq. 17) over the known targets."""
        with tf.GradientTape() as tape:
            error = tf.square(self.network(losses, count, labels) - targets) * known
            loss = tf.reduce_sum(error) / tf.maximum(tf.reduce_sum(known), 1)
        gradients = tape.gradient(loss, self.network.trainable_variables)
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        norm = tf.linalg.global_norm(gradients)  # a single huge loss must not spoil the network for good
        factor = tf.where(tf.math.is_finite(norm), _LARGEST_GRADIENT / tf.maximum(norm, _LARGEST_GRADIENT), 0.0)
        gradients = [tf.where(tf.math.is_finite(norm), g, 0.0) * factor for g in gradients]
        self._optimizer.apply(gradients, self.network.trainable_variables)


class _Network(keras.Model):
    """M(i, y_i, H): `(n, H)` losses, `(n,)` counts and `(n,)` class ids to `(n,)` predicted losses.

    Every layer has its name, dtype and seed given: no policy and no random state of the user's is touched.
    """

    def __init__(self, history, units, embedding, classes, seed):
        super().__init__(name="loss_network", dtype="float32")
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
        one = tf.zeros(1, tf.int32)
        self(tf.zeros((1, history)), one, one)  # makes the variables

    def start_at(self, value):
        self._linear.bias.assign([value])

    def call(self, losses, count, labels):
        states = self._upper(self._lower(losses[:, :, None]))  # (n, H, units)
        # An LSTM is causal: its state at the last real entry has seen no padding. count = 0 picks the zero state.
        last = tf.one_hot(count - 1, self._history)  # (n, H)
        features = tf.einsum("nh,nhu->nu", last, states)
        if self._classes:
            features = tf.concat([features, self._classes(labels)], axis=1)
        return self._linear(features)[:, 0]


def _padded(arrays):
    """Arrays `(n, ...)` with zeros after them, up to a power of 2: few sizes, since XLA compiles for each."""
    n = len(arrays[0])
    missing = (1 << (n - 1).bit_length()) - n
    return [np.pad(a, [(0, missing), *[(0, 0)] * (a.ndim - 1)]) for a in arrays]


def _scale(mean):
    """The unit in which the network sees losses: 1, as in the paper, unless their first mean is far from it."""
    return 1.0 if mean <= 0 or 0.1 <= mean <= 10 else mean


def _lstm(name, units, seed):
    seeds = [int(s) for s in np.random.SeedSequence(int(seed)).generate_state(3)]
    return keras.layers.LSTM(
        units,
        return_sequences=True,
        unroll=True,
        use_cudnn=False,  # cuDNN cannot be compiled by XLA
        kernel_initializer=keras.initializers.GlorotUniform(seed=seeds[0]),
        recurrent_initializer=keras.initializers.Orthogonal(seed=seeds[1]),
        seed=seeds[2],
        name=name,
        dtype="float32",
    )
