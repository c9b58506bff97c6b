"""The paper's approximation: a small LSTM predicts the loss from the history of losses and the class (section 3.3).

Here is what belongs to one data set: the history, the weights and the state of the optimizer. What is compiled is in
`loss_steps`, and shared.
"""

import numpy as np

from importance_sampling.arguments import whole_number
from importance_sampling.data.labels import classes_of_outputs
from importance_sampling.data.large import checked_directory
from importance_sampling.importance.base import IMPORTANCES, Importance
from importance_sampling.importance.history import LossHistory
from importance_sampling.importance.lstm_settings import check, class_ids, classes_for, unit_of
from importance_sampling.importance.predictions import Predictions
from importance_sampling.model.loss_network import LossNetwork, Sizes, from_state, parts, predicting, start, state_of
from importance_sampling.model.loss_steps import compiled, padded, predictions, tensors
from importance_sampling.types import State

_ROWS = 256  # candidates that are predicted at once: XLA is fastest a sample at about that many, and compiles for one size
_YOUNG = 512  # batches, each of which the network learns from
_MUCH_LEARNT = (64, 128, 256, 512)  # batches after which no prediction is true any more
_PART = 32  # of a pool, so large a part is predicted anew for what was measured since
_RENEWED = 16  # with each batch, predictions of a sixteenth as many samples are made anew in turn: the network learns
_LEARN_EVERY = 16


class LSTMImportance(Importance):
    """Two stacked LSTMs over a sample's last losses, beside an embedding of its class, and one linear layer.

    Trained on batches by Adam and the squared error: the losses of the batch are the targets, the history before them is the
    input (line 9 of Algorithm 1, eq. 17); then the losses join the history (line 10).

    A prediction is kept while it comes true: from a pool, those are made anew that were furthest from the losses measured since, a
    32nd of the candidates or 256; and all in turn, once in 16 epochs. The network learns from some of the batches.
    `cached=False` is Algorithm 1 to the letter: every candidate is predicted anew, the network learns from every batch.

    With the first batch its predictions become about the mean of that batch, for every sample. Losses of another order of
    magnitude than the paper's (that mean outside 0.1 to 10) are divided by it, here inside, and the norm of the gradient is
    bounded, so that neither unit nor outlier keeps the network from learning.

    Cost: with the paper's sizes 5 to 10 microseconds of one CPU core a prediction, in batches of 128 from large pools some 140 a
    step at first and 32 after a thousand steps; and less than a second once to compile. What is compiled serves all of the same
    sizes and number of classes: other data, or another training, compile nothing anew. Memory: 52 bytes a sample.

    Args:
        history (int, default 10): H, how many losses of each sample are kept.
        units (int, default 32): size of both LSTMs.
        embedding (int, default 32): D, size of the class embedding.
        classes (int, default None): number of classes; None takes it from the labels, and leaves the embedding out where the data
            have no classes (regression, several outputs, several labels); 0 leaves it out in any case.
        learning_rate (float, default 1e-3): of Adam.
        quantity (str, default "loss"): what is predicted, `"loss"` or `"gnorm"` (the gradient-norm bound, from the same backward
            pass).
        jit_compile (bool, default True): compile predictions with XLA; without it they cost about twice as much.
        cached (bool, default True): keep predictions; False predicts every candidate at every draw.
        learn_every (int, default None): the network learns from each of the first 512 batches, then from one of so many, >= 1. None
            is 16, and 1 where not cached.
        directory (path, default None): where histories and predictions are kept in files, see `HistoryImportance`.

    Raises:
        ValueError: a size or `learn_every` below 1, `classes` below 0, a learning rate that is not positive, or `quantity` unknown.

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

    def __init__(
        self,
        history=10,
        units=32,
        embedding=32,
        classes=None,
        learning_rate=1e-3,
        quantity="loss",
        jit_compile=True,
        cached=True,
        learn_every=None,
        directory=None,
    ):
        check(learning_rate, quantity)
        self.history = whole_number("history", history, least=1)
        self.units = whole_number("units", units, least=1)
        self.embedding = whole_number("embedding", embedding, least=1)
        self.classes = whole_number("classes", classes, least=0, or_none=True)
        self.learning_rate = float(learning_rate)
        self.quantity = quantity
        self.jit_compile = bool(jit_compile)
        self.cached = bool(cached)
        usual = _LEARN_EVERY if cached else 1
        self.learn_every = usual if learn_every is None else whole_number("learn_every", learn_every, least=1)
        self.directory = checked_directory(directory)
        if self.cached:  # then scores are read, nearly always
            self.pool_batches, self.draws_ahead = 64, 8

    uses_indices = True
    _room = None  # for so many classes where the labels tell fewer: data that lack the last class compile nothing anew
    _least = (_ROWS, 1)  # candidates and samples that arrays are padded to, at least

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
        classes = classes_for(self.classes, classes, self._room)
        self.losses = LossHistory(size, self.history, self.directory)
        self._sizes = Sizes(self.history, self.units, self.embedding, classes)
        network = LossNetwork(self._sizes, seed)
        self._shapes = [w.shape for w in network.weights]
        self._learnt = start(network, self.learning_rate)
        self._scale = None
        self._updates = 0
        self._of_seen = Predictions(size, self.directory)
        self._of_unseen = Predictions(max(classes, 1))  # by class: without a history nothing else tells them apart

    def prepare(self, pool_size, batch_size):
        """Compiles for these sizes, to which arrays are padded."""
        self._least = (min(pool_size, _ROWS), batch_size)
        nothing = np.zeros(0, np.int64)
        self._predict(*self._inputs(nothing, nothing))

    @property
    def network(self):
        """The loss network as it is now: a `keras.Model` made anew, which learns nothing more."""
        network = LossNetwork(self._sizes, seed=0)
        network.set_weights(parts(self._learnt.weights, self._shapes))
        return network

    def score(self, pool):
        """Returns `(B,)` float32, the predicted loss, at least 0; 1 for all before anything was seen."""
        if self._scale is None:
            return np.ones(len(pool), np.float32)
        if not self.cached:
            return self._as_scores(self._predict(*self._inputs(pool.indices, pool.labels)))
        predicted = self._of_seen.of(pool.indices)  # (B,)
        missing = np.flatnonzero(np.isnan(predicted))
        seen = self.losses.has(pool.indices[missing])
        unseen, anew = missing[~seen], self._with_doubtful(pool.indices, missing[seen])
        if len(anew):
            self._of_seen.keep(pool.indices[anew], self._predict(*self._inputs(*_of(pool, anew))))
            predicted = self._of_seen.of(pool.indices)  # a sample may be a candidate twice
        if len(unseen):
            predicted[unseen] = self._of_classes(self._ids(*_of(pool, unseen)))
        return self._as_scores(predicted)

    def _with_doubtful(self, indices, missing):
        """Positions of what is predicted anew: what has no prediction, and those that were the furthest off, together a 32nd of the
        pool or more, rounded up to what is predicted at once."""
        rows = self._least[0]
        room = -(-max(len(indices) // _PART, len(missing), 1) // rows) * rows
        return np.concatenate([missing, self._of_seen.most_doubtful(indices, room - len(missing))])

    def update(self, indices, labels, values):
        """Learns from a batch, if it is one of those, then adds it to the history. Values that are not finite are left out of both.

        Args:
            indices: `(b,)` ints.
            labels: `(b,)` class ids, or None without classes.
            values: `(b,)` losses or gradient norms.
        """
        values = np.asarray(values, np.float32)
        finite = np.isfinite(values)
        if self._scale is None and finite.any():
            self._begin(float(np.mean(values[finite], dtype=np.float64)))
        if self._updates < _YOUNG or self._updates % self.learn_every == 0:
            targets = np.where(finite, values, 0) / np.float32(self._scale or 1.0)
            inputs = padded((*self._inputs(indices, labels), targets, finite.astype(np.float32)), self._least[1])
            self._learnt = compiled(self._sizes, self.jit_compile).fit(self._learnt, *tensors(*inputs))
            self._of_unseen.forget_all()
        self._updates += 1
        if self._updates in _MUCH_LEARNT:
            self._of_seen.forget_all()
        self.losses.append(indices, values)
        self._of_seen.compare(indices, np.maximum(values, 0) / np.float32(self._scale or 1.0))  # as scores are
        self._of_seen.forget_next(-(-len(indices) // _RENEWED))

    def _of_classes(self, ids):
        """`(n,)` predictions for samples of these classes that were not seen."""
        present = np.unique(ids)
        missing = present[np.isnan(self._of_unseen.of(present))].astype(np.int32)
        if len(missing):
            nothing = np.zeros((len(missing), self.history), np.float32)
            self._of_unseen.keep(missing, self._predict(nothing, np.zeros(len(missing), np.int32), missing))
        return self._of_unseen.of(ids)

    def _predict(self, *inputs):
        """`(n,)` float32, at least 0, of losses `(n, H)`, counts and class ids `(n,)`."""
        found = predictions(compiled(self._sizes, self.jit_compile), self._learnt.weights, inputs, self._least[0])
        return np.maximum(found, 0)

    def _as_scores(self, predicted):
        return predicted * (self._scale or 1.0)

    def get_state(self) -> State:
        learnt = state_of(self._learnt, self._shapes)
        kept = {"seen": self._of_seen.get_state(), "unseen": self._of_unseen.get_state()}
        return {"history": self.losses.get_state(), **learnt, "scale": self._scale or 0.0, "updates": self._updates, **kept}

    def set_state(self, state):
        self.losses.set_state(state["history"])
        self._learnt = from_state(state, self._shapes)
        self._scale = float(state["scale"]) or None
        self._updates = int(state["updates"])
        self._of_seen.set_state(state["seen"])
        self._of_unseen.set_state(state["unseen"])

    def _begin(self, mean):
        """Chooses the unit, and makes the predictions about the mean of the first batch, for every sample.

        From 0 the network would first learn how large losses are, most quickly for the classes it sees most often: until
        then it would call the frequent classes, which are the easy ones, hard.
        """
        self._scale = unit_of(mean)
        self._learnt = predicting(self._learnt, mean / self._scale)

    def _inputs(self, indices, labels):
        losses, count = self.losses.window(indices)
        return losses / np.float32(self._scale or 1.0), count, self._ids(indices, labels)

    def _ids(self, indices, labels):
        return class_ids(labels, len(indices), self._sizes.classes)


def _of(pool, positions):
    """Indices and labels of some candidates."""
    return pool.indices[positions], None if pool.labels is None else pool.labels[positions]


IMPORTANCES.register("approx", LSTMImportance)
