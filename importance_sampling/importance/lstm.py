"""The paper's approximation: a small LSTM predicts the loss from the history of losses and the class (section 3.3).

Here is what belongs to one data set: the history, the weights and the state of the optimizer. What is compiled is in
`network`, and shared.
"""

import numpy as np

from importance_sampling.data.labels import classes_of_outputs
from importance_sampling.importance.base import IMPORTANCES, Importance
from importance_sampling.importance.history import LossHistory
from importance_sampling.model.loss_network import (
    LossNetwork,
    Sizes,
    compiled,
    from_state,
    parts,
    predicting,
    start,
    state_of,
    tensors,
)
from importance_sampling.types import State


class LSTMImportance(Importance):
    """Two stacked LSTMs over a sample's last losses, beside an embedding of its class, and one linear layer.

    Trained on every batch by Adam and the squared error: the losses of the batch are the targets, the history before
    them is the input (line 9 of Algorithm 1, eq. 17); then the losses join the history (line 10).

    With the first batch its predictions become about the mean of that batch, for every sample. Losses of another order of
    magnitude than the paper's (that mean outside 0.1 to 10) are divided by it, here inside, and the norm of the gradient is
    bounded, so that neither unit nor outlier keeps the network from learning.

    Cost: with the paper's sizes, a presample of 1,024 and a batch of 128, about 5 ms to score and 4 ms to learn on two
    CPU cores, and some 6 seconds once to compile. What is compiled serves every one of the same sizes and number of classes:
    other data, or another training, compile nothing anew. Memory: 44 bytes a sample.

    Args:
        history (int, default 10): H, how many losses of each sample are kept.
        units (int, default 32): size of both LSTMs.
        embedding (int, default 32): D, size of the class embedding.
        classes (int, default None): number of classes; None takes it from the labels, and leaves the embedding out where the data
            have no classes (regression, several outputs, several labels); 0 leaves it out in any case.
        learning_rate (float, default 1e-3): of Adam.
        quantity (str, default "loss"): what is predicted, `"loss"` or `"gnorm"` (the gradient-norm bound, from the same backward
            pass).
        jit_compile (bool, default True): compile with XLA. Without it a step costs about twice as much, but starting takes 2
            seconds only.

    Raises:
        ValueError: a size below 1, `classes` below 0, a learning rate that is not positive, or `quantity` unknown.

    Example:
        >>> from importance_sampling import ImportanceTraining
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="softmax")])
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> training = ImportanceTraining(model, importance=LSTMImportance(history=2, units=4), presample=8, seed=0)
        >>> history = training.fit(np.ones((16, 2)), np.arange(16) % 3, batch_size=4, verbose=0)

    References:
        Sections 3.3 and 4 of arXiv:1706.00043.
    """

    def __init__(self, history=10, units=32, embedding=32, classes=None, learning_rate=1e-3, quantity="loss", jit_compile=True):
        for name, value in (("history", history), ("units", units), ("embedding", embedding)):
            if value < 1:
                raise ValueError(f"`{name}` must be >= 1. Received: {name}={value}")
        if classes is not None and classes < 0:
            raise ValueError(f"`classes` must be >= 0 or None. Received: classes={classes}")
        if not learning_rate > 0:
            raise ValueError(f"`learning_rate` must be > 0. Received: learning_rate={learning_rate}")
        if quantity not in ("loss", "gnorm"):
            raise ValueError(f"`quantity` must be 'loss' or 'gnorm'. Received: quantity={quantity!r}")
        self.history = history
        self.units = units
        self.embedding = embedding
        self.classes = classes
        self.learning_rate = learning_rate
        self.quantity = quantity
        self.jit_compile = bool(jit_compile)

    uses_indices = True
    _room = None  # for so many classes where the labels tell fewer: data that lack the last class compile nothing anew
    _least = (1, 1)  # candidates and samples that arrays are padded to, at least

    @property
    def uses_labels(self):
        return self.classes != 0

    @property
    def needs_labels(self):
        return bool(self.classes)

    def bind(self, model):
        """Makes room for the classes that the outputs of the model tell apart."""
        self._room = classes_of_outputs(getattr(model, "outputs", None) or [])

    def build(self, size, classes, seed):
        """Starts an empty history of `size` samples and an untrained network.

        Raises:
            ValueError: the labels need more classes than the `classes` given to the constructor, or nothing tells their number.
        """
        if classes is None and self.classes is None:
            raise ValueError(
                "`importance` must be LSTMImportance(classes=...) where the labels come with the batches and the model's outputs "
                "do not tell the number of classes; 0 for data without classes. Received: classes=None"
            )
        if self.classes and classes and classes > self.classes:
            raise ValueError(f"`y` must be class ids in [0, {self.classes}). Received: y={classes - 1}")
        classes = (classes and max(classes, self._room or 0)) if self.classes is None else self.classes
        self.losses = LossHistory(size, self.history)
        self._sizes = Sizes(self.history, self.units, self.embedding, classes)
        network = LossNetwork(self._sizes, seed)
        self._shapes = [w.shape for w in network.weights]
        self._learnt = start(network, self.learning_rate)
        self._scale = None

    def prepare(self, pool_size, batch_size):
        """Arrays are padded to these sizes, so that the functions are compiled for one size of pool and one of batch."""
        self._least = (pool_size, batch_size)

    @property
    def network(self):
        """The loss network as it is now: a `keras.Model` made anew, which learns nothing more."""
        network = LossNetwork(self._sizes, seed=0)
        network.set_weights(parts(self._learnt.weights, self._shapes))
        return network

    def score(self, pool):
        """Returns `(B,)` float32, the predicted loss, at least 0."""
        inputs = _padded(self._inputs(pool.indices, pool.labels), self._least[0])
        predicted = (
            compiled(self._sizes, self.jit_compile).predict(self._learnt.weights, *tensors(*inputs)).numpy()[: len(pool.indices)]
        )
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
        inputs = _padded((*self._inputs(indices, labels), targets, finite.astype(np.float32)), self._least[1])
        self._learnt = compiled(self._sizes, self.jit_compile).fit(self._learnt, *tensors(*inputs))
        self.losses.append(indices, values)

    def get_state(self) -> State:
        learnt = state_of(self._learnt, self._shapes)
        return {"history": self.losses.get_state(), **learnt, "scale": self._scale or 0.0}

    def set_state(self, state):
        self.losses.set_state(state["history"])
        self._learnt = from_state(state, self._shapes)
        self._scale = float(state["scale"]) or None

    def _begin(self, mean):
        """Chooses the unit, and makes the predictions about the mean of the first batch, for every sample.

        From 0 the network would first learn how large losses are, most quickly for the classes it sees most often: until
        then it would call the frequent classes, which are the easy ones, hard.
        """
        self._scale = _scale(mean)
        self._learnt = predicting(self._learnt, mean / self._scale)

    def _inputs(self, indices, labels):
        losses, count = self.losses.window(indices)
        if self._sizes.classes and labels.max() >= self._sizes.classes:
            raise ValueError(f"`y` must be class ids below `classes`, {self._sizes.classes}. Received: y={labels.max()}")
        ids = labels.astype(np.int32) if self._sizes.classes else np.zeros(len(indices), np.int32)
        return losses / np.float32(self._scale or 1.0), count, ids


IMPORTANCES.register("approx", LSTMImportance)


def _padded(arrays, least):
    """Arrays `(n, ...)` with zeros after them, up to a power of 2 not below `least`: few sizes, since XLA compiles for each."""
    n = len(arrays[0])
    missing = (1 << (max(n, least) - 1).bit_length()) - n
    return [np.pad(a, [(0, missing), *[(0, 0)] * (a.ndim - 1)]) for a in arrays]


def _scale(mean):
    """The unit in which the network sees losses: 1, as in the paper, unless their first mean is far from it."""
    return 1.0 if mean <= 0 or 0.1 <= mean <= 10 else mean
