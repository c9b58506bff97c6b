"""What an importance is, and where its names are registered."""

from abc import ABC, abstractmethod

import numpy as np

from importance_sampling.registry import OfFunction, Part, Registry


class Importance(Part, ABC):
    """How important each candidate is. The least that a class of one's own must have is `score` and `update`.

    Attributes:
        quantity (str or None, default "loss"): what `update` is given and what the scores estimate: `"loss"`; `"gnorm"`, the bound
            of the gradient norm, from the same backward pass; `"full_gnorm"`, its own scores; or None where there is nothing to
            estimate and every sample counts the same.
        uses_indices (bool, default False): whether it must recognise a sample that it has seen before, by its index.
        uses_labels (bool, default False): whether it makes use of class ids.
        needs_labels (bool, default False): whether it cannot do without them.
        pool_batches (int or None, default None): how many batches the candidates are where `presample` is None: many where scores
            cost nothing, few where they are dear; None is 1,024 samples, or three batches.
        draws_ahead (int, default 1): how many batches may be drawn from one pool of arrays at once, by scores that are then up to
            so many steps old; never more than an eighth of the pool, and one by a drawing rule that is not `divisible`.
        learns_at_once (bool, default False): whether batches that were drawn from one pool at once may be given to `update` as one.
        chooses (bool, default True): whether it has something to choose by, now. Where not, batches are those of uniform sampling,
            and it goes on learning from them.
        defaults (dict, default {}): values of `k`, `smoothing` and `batch_size_rule` that go with it, for users who give none.
        decisions (sequence of str, default ()): sentences about what it has decided so far; `fit` shows those that are new after an
            epoch.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import ArraySource, Importance, ImportanceSampler, LossHistory
        >>> class LastLoss(Importance):
        ...     uses_indices = True
        ...
        ...     def build(self, size, classes, seed):
        ...         self.history = LossHistory(size, length=1)
        ...
        ...     def score(self, pool):
        ...         losses, count = self.history.window(pool.indices)
        ...         return np.where(count > 0, losses[:, 0], 1.0)
        ...
        ...     def update(self, indices, labels, values):
        ...         self.history.append(indices, values)
        >>> sampler = ImportanceSampler(ArraySource(np.zeros((100, 2)), np.zeros(100)), LastLoss, seed=0)
        >>> draw = sampler.draw(10)
        >>> sampler.update(draw, losses=np.ones(10))
    """

    quantity = "loss"
    uses_indices = False
    uses_labels = False
    needs_labels = False
    pool_batches = None
    draws_ahead = 1
    learns_at_once = False
    chooses = True
    defaults = {}
    decisions = ()

    def bind(self, model):
        """Told of the model that is trained, before `build`. By default it is not needed.

        Args:
            model (keras.Model or None): compiled; None in an `ImportanceSampler`, which knows of no model.
        """

    def build(self, size, classes, seed):
        """Begins with nothing known of a data set.

        Args:
            size (int or None): N, the number of samples; None where they come in batches.
            classes (int or None): their number; 0 where the data have none, None where they are not known yet.
            seed (int): for randomness of its own.
        """

    def prepare(self, pool_size, batch_size):
        """Told before the first step how many candidates and samples there will be at a time, at most; what is compiled for one
        size can be compiled for that. By default it does not matter."""

    def watches(self, batches):
        """Whether the next batches are to be measured, asked before each pool that it does not choose from, for so many batches.
        Where not, `judge` and `update` are told nothing of them. By default they are."""
        return True

    @abstractmethod
    def score(self, pool):
        """Scores the candidates.

        Args:
            pool (Pool): B candidates. Its `labels` may have classes not seen before, its `indices` an index twice.

        Returns:
            `(B,)` floats. Negative scores are treated as 0; if one is not finite, the draw is uniform, with a warning.
        """

    def judge(self, draw, gnorms):
        """Told of every `Draw` before `update`, with what was measured of it: gradient-norm bounds, `(b,)` floats, or losses where
        no bounds are. Several batches of one pool may be told as one, `draw.batches` says how many. By default they do not matter.
        """

    @abstractmethod
    def update(self, indices, labels, values):
        """Learns what the samples of a draw lost.

        Args:
            indices: `(b,)` int64, in which an index may occur several times.
            labels: `(b,)` int64 class ids, which may be new; None where the importance makes no use of them.
            values: `(b,)` float64, the `quantity` of each sample; NaN where it is not known, as for a sample that had no weight.
        """

    def relabel(self, labels):
        """Told the class ids of all samples, `(N,)` ints that changed between two fits. By default they do not matter."""


class FunctionImportance(OfFunction, Importance):
    """A function of a `Pool` as an importance that learns nothing.

    Args:
        function: maps a `Pool` of B candidates to `(B,)` scores.
    """

    uses_labels = True

    def score(self, pool):
        return np.asarray(self._function(pool))

    def update(self, indices, labels, values):
        """There is nothing to learn."""


IMPORTANCES = Registry("importance", Importance, FunctionImportance, "of a Pool that returns (B,) scores")


def kind_of(importance):
    """What a state is known by."""
    return type(importance).__name__ + (f" of {importance.quantity}" if importance.quantity else "")


def check_kind(state, importance):
    """Refuses the state of another importance.

    Raises:
        ValueError: it is one.
    """
    if state["kind"] != kind_of(importance):
        raise ValueError(f"`state` must be of a {kind_of(importance)}. Received: of a {state['kind']}")
