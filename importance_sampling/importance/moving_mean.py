"""The importance of a sample is a moving mean of what was measured of it while the model trained on it."""

import numpy as np

from importance_sampling.arguments import number
from importance_sampling.data.large import checked_directory, filled, kept
from importance_sampling.importance.base import IMPORTANCES, Importance
from importance_sampling.importance.by_class import grown
from importance_sampling.importance.history import checked
from importance_sampling.types import State


class HistoryImportance(Importance):
    """A moving mean, for each sample, of the gradient-norm bounds or losses that its own training steps gave.

    The paper predicts the loss from a sample's history by an LSTM; this takes the history for the prediction. Nothing is computed
    for it: the values come from the backward pass that trains. A sample that was not seen yet has the mean of those of its class
    that were, or of all.

    Cost: a look-up for each candidate, and for each sample of a batch. Memory: 4 bytes a sample.

    Args:
        quantity (str, default "gnorm"): what is kept, `"gnorm"` (the gradient-norm bound) or `"loss"`.
        factor (float, default 0.5): number in [0, 1), what a new value leaves of the mean before it. 0 keeps the last value alone.
        pressure (float, default None): number > 1. With it the candidates are ordered by their means, and the first is that many
            times as important as the last, in equal ratios between; the mean of the scores stays. None takes the means themselves.
        directory (path, default None): where the means are kept in a file in place of memory; the number of samples must be known.
            The file has no name, and is gone when training is; what is to stay is in `get_state`.

    Raises:
        ValueError: an argument breaks one of these rules.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import Pool
        >>> history = HistoryImportance()
        >>> history.build(size=4, classes=2, seed=0)
        >>> labels = np.array([0, 0, 1, 1])
        >>> history.update(np.array([0, 2]), labels[[0, 2]], np.array([1.0, 3.0]))
        >>> history.update(np.array([0]), labels[[0]], np.array([2.0]))
        >>> history.score(Pool(np.arange(4), labels, None))
        array([1.5, 1.5, 3. , 3. ], dtype=float32)

    References:
        Section 3.3 of arXiv:1706.00043 (the history of losses); by order: Loshchilov and Hutter, arXiv:1511.06343.
    """

    uses_indices = True
    uses_labels = True
    pool_batches = 64
    draws_ahead = 8
    learns_at_once = True

    def __init__(self, quantity="gnorm", factor=0.5, pressure=None, directory=None):
        if quantity not in ("gnorm", "loss"):
            raise ValueError(f"`quantity` must be 'gnorm' or 'loss'. Received: quantity={quantity!r}")
        self.quantity = quantity
        self.factor = number("factor", factor, "in [0, 1)", lambda factor: 0 <= factor < 1)
        self.pressure = number("pressure", pressure, "> 1", lambda pressure: pressure > 1, or_none=True)
        self.directory = checked_directory(directory)

    def build(self, size, classes, seed):
        """Starts with nothing known of `size` samples; None makes room for those that come.

        Raises:
            ValueError: there is a directory, and the size is None.
            OSError: there is no room in it.
        """
        self._grows = size is None
        directory = checked_directory(self.directory, size)
        self._means = filled((size or 0,), np.nan, np.float32, directory)  # (N,), NaN for a sample that was not seen
        self._sums = np.zeros((2, max(classes or 0, 1)))  # of each class: how many samples were seen, and the sum of their means

    def score(self, pool):
        """Returns `(B,)` float32, the moving means; 1 for all before anything was seen."""
        indices = self._checked(pool.indices)
        scores = self._means[indices]  # (B,)
        unseen = np.isnan(scores)
        if unseen.any():
            scores[unseen] = self._expected(None if pool.labels is None else pool.labels[unseen])
        return scores if self.pressure is None else _by_order(scores, self.pressure)

    def update(self, indices, labels, values):
        """Takes in the values of one batch. Of a sample that is in it several times, their mean counts, once.

        Args:
            indices: `(b,)` ints.
            labels: `(b,)` class ids, or None without classes.
            values: `(b,)` gradient-norm bounds or losses; those that are not finite are left out.
        """
        values = np.asarray(values, np.float64)
        known = np.isfinite(values)
        indices, first, places = np.unique(self._checked(indices)[known], return_index=True, return_inverse=True)
        labels = np.zeros(len(indices), np.int64) if labels is None else labels[known][first]
        values = np.bincount(places, values[known], len(indices)) / np.bincount(places, minlength=len(indices))
        before = self._means[indices].astype(np.float64)
        new = np.isnan(before)
        before[new] = 0.0
        means = np.where(new, values, self.factor * before + (1 - self.factor) * values).astype(np.float32)
        self._means[indices] = means
        self._sums = grown(self._sums, labels)
        classes = self._sums.shape[1]
        self._sums += [np.bincount(labels, new, classes), np.bincount(labels, means - before, classes)]

    def relabel(self, labels):
        """Takes the seen samples to their classes, `(N,)` ids."""
        seen = np.flatnonzero(~np.isnan(self._means[: len(labels)]))
        labels = labels[seen].astype(np.int64)
        self._sums = grown(np.zeros_like(self._sums), labels)
        classes = self._sums.shape[1]
        self._sums += [np.bincount(labels, minlength=classes), np.bincount(labels, self._means[seen], classes)]

    def get_state(self) -> State:
        return {"means": kept(self._means), "sums": self._sums.copy()}

    def set_state(self, state):
        """Restores what `get_state` returned.

        Raises:
            ValueError: the state is of another number of samples.
        """
        means = np.asarray(state["means"], np.float32)
        if means.shape == self._means.shape:
            self._means[:] = means
        elif self._grows:
            self._means = means.copy()
        else:
            raise ValueError(f"`state` must be of {len(self._means)} samples. Received: of {len(means)}")
        self._sums = np.array(state["sums"], np.float64)

    def _expected(self, labels):
        """What is expected of samples of these classes that were not seen: the mean of their class, or of all."""
        count, total = self._sums
        overall = total.sum() / count.sum() if count.any() else 1.0
        if labels is None:
            return overall
        self._sums = grown(self._sums, labels)
        count, total = self._sums
        return np.divide(total, count, out=np.full(len(count), overall), where=count > 0)[labels]

    def _checked(self, indices):
        indices, size = checked(indices, len(self._means), self._grows)
        if size > len(self._means):
            self._means = np.pad(self._means, (0, size - len(self._means)), constant_values=np.nan)
        return indices


def _by_order(scores, pressure):
    """Scores in equal ratios by their order, equal ones at the middle of their places.

    Their mean is as before, with negative ones as 0; and 1 where none is above 0 and some are below.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - (counts + 1) / 2  # in [0, B - 1]
    found = pressure ** (below / max(len(scores) - 1, 1))[places]
    mean = np.mean(np.maximum(scores, 0), dtype=np.float64) or float(scores.min() < 0)
    return found * (mean / found.mean())


IMPORTANCES.register("history", HistoryImportance)
