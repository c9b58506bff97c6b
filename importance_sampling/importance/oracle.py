"""The importance that the model itself gives to a sample."""

import copy

import numpy as np

from importance_sampling.arguments import number, whole_number
from importance_sampling.importance.base import IMPORTANCES, Importance
from importance_sampling.importance.threshold import Gain
from importance_sampling.model.probe import fixed_batch_size
from importance_sampling.model.scorer import SCORES, Scorer
from importance_sampling.types import State


class Oracle(Importance):
    """Scores every candidate with the model that is being trained, as it is now.

    Cost: a forward pass over the whole pool for `"loss"` and `"gnorm"`, on top of the training step: with a presample of
    1,024 and a batch of 128 about three times the time of a plain step. By default the pool is three batches. `"full_gnorm"` adds
    a backward pass for each single sample and is for reference only.

    Args:
        model (keras.Model, default None): the compiled model that is trained; None takes that of the training or the callback.
        quantity (str, default "loss"): `"loss"`, as in eq. 10 of the paper; `"gnorm"`, the upper bound of the gradient norm of
            arXiv:1803.00942 (the norm of the gradient with respect to the logits where the loss is computed from them, else to the
            output); `"full_gnorm"`, the exact norm over all trainable weights.
        batch_size (int, default 128): how many candidates one forward pass takes. On a CPU recurrent networks gain from more (1,024
            took 0.7 of the time of 128 on a language model of 10,001 words), convolutions do not. With masks, and with the
            `ignore_class` of a loss, Keras divides by what is valid in the whole batch: there one pass takes the whole pool, so
            that all scores have one unit. Where memory is short for that, make `presample` smaller.
        tau (float, default None): number >= 1, below which nothing is scored: batches are then those of uniform sampling, and tell
            whether scores would pay: ideal ones are worth a batch `tau^2` times as large, see `Gain`. A pool of B pays for itself
            above `sqrt((B + 3 b) / (3 b))` where a backward pass takes twice the time of a forward one, which is 1.41 for the pool
            of three batches. None scores always; `"full_gnorm"`, which only scores tell, must.

    Raises:
        ValueError: `quantity` is unknown, `batch_size` is below 1 or `tau` is, or goes with `"full_gnorm"`.

    Example:
        >>> import keras, numpy as np
        >>> from importance_sampling import ImportanceTraining, Oracle
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> training = ImportanceTraining(model, importance=Oracle(model, quantity="gnorm"), presample=8, seed=0)
        >>> history = training.fit(np.ones((16, 2)), np.arange(16.0), batch_size=4, verbose=0)

    References:
        Section 4 of arXiv:1706.00043 (oracle); arXiv:1803.00942 (gnorm; tau in section 3.3).
    """

    pool_batches = 3

    def __init__(self, model=None, quantity="loss", batch_size=128, tau=None):
        if quantity not in SCORES:
            raise ValueError(f"`quantity` must be one of {', '.join(SCORES)}. Received: quantity={quantity!r}")
        self.quantity = quantity
        self.tau = number("tau", tau, ">= 1", lambda tau: tau >= 1, or_none=True)
        if quantity == "full_gnorm" and self.tau is not None:
            raise ValueError(f"`tau` must be None for quantity='full_gnorm', which training steps do not tell. Received: tau={tau}")
        self._model = model
        self._scorer = None if model is None else Scorer(model, quantity)
        self._batch_size = whole_number("batch_size", batch_size, least=1)

    def __deepcopy__(self, memo):
        """Scores by the copy of the model where that was copied before, as with an `ImportanceTraining`, else by the model."""
        copied = copy.copy(self)
        copied._model = memo.get(id(self._model), self._model)
        copied._scorer = copy.deepcopy(self._scorer, memo)
        return copied

    def bind(self, model):
        """Takes the model that is trained, where none was given.

        Raises:
            ValueError: there is none either.
        """
        if self._model is None:
            if model is None:
                raise ValueError("`importance` must be Oracle(model) here, where no model is trained. Received: an Oracle without")
            self._model, self._scorer = model, Scorer(model, self.quantity)

    def build(self, size, classes, seed):
        """Nothing is built before the first pool is seen.

        Raises:
            ValueError: the model takes batches of one size only, and keeps a state from one to the next.
        """
        self.gain = Gain()
        fixed = fixed_batch_size(self._model)
        if fixed and any(getattr(layer, "stateful", False) for layer in self._model.layers):
            raise ValueError(f"`model` must take batches of any size, to score a pool. Received: batches of {fixed} only")

    def score(self, pool):
        """Returns `(B,)` float32: the loss or gradient norm of every candidate, with `training=False`."""
        fixed = fixed_batch_size(self._model)
        if fixed:
            return np.concatenate([self._filled_up(pool, part, fixed) for part in _parts(len(pool), fixed)])
        batch = pool.read(np.arange(min(len(pool), self._batch_size)))
        if len(pool) > self._batch_size and not self._scorer.separable(*batch[:2]):
            return np.asarray(self._scorer(*pool.read(np.arange(len(pool)))))
        rest = (pool.read(part) for part in _parts(len(pool), self._batch_size)[1:])
        return np.concatenate([self._scorer(*part) for part in (batch, *rest)])

    def _filled_up(self, pool, part, size):
        """The scores of some candidates by a model that takes batches of one size: they are repeated until there are so many."""
        return np.asarray(self._scorer(*pool.read(np.resize(part, size))))[: len(part)]

    @property
    def chooses(self):
        """Whether `tau` was exceeded lately; always without one."""
        found = None if self.tau is None else self.gain.tau
        return self.tau is None or (found is not None and found > self.tau)

    def judge(self, draw, gnorms):
        """Takes in what a draw tells about the gain."""
        if self.tau is not None:
            self.gain.observe(draw, gnorms)

    def update(self, indices, labels, values):
        """The model is the oracle; it learns by being trained."""

    def get_state(self) -> State:
        return {} if self.tau is None else self.gain.get_state()

    def set_state(self, state):
        if self.tau is not None:
            self.gain.set_state(state)


IMPORTANCES.register("oracle", Oracle)
IMPORTANCES.register("gnorm", Oracle(quantity="gnorm"))
IMPORTANCES.register("full_gnorm", Oracle(quantity="full_gnorm"))


def _parts(size, length):
    return np.split(np.arange(size), np.arange(length, size, length))
