"""Predictions that are kept until they are no longer true, and what was measured since."""

import numpy as np

from importance_sampling.data.large import filled, kept
from importance_sampling.importance.history import checked
from importance_sampling.types import State


class Predictions:
    """The last prediction for each of N things; none for those that were never predicted, or forgotten since.

    What is measured of a thing later says how far off its prediction was, and how much it is in need of a new one. Memory is 8
    bytes a thing.

    Args:
        size (int or None): N; None makes room for those that come.
        directory (path, default None): where they are kept in a file in place of memory.

    Example:
        >>> predictions = Predictions(4)
        >>> predictions.keep(np.array([0, 2, 3]), np.array([0.5, 1.5, 2.5]))
        >>> predictions.of(np.arange(4))
        array([0.5, nan, 1.5, 2.5], dtype=float32)
        >>> predictions.compare(np.array([0, 3]), np.array([0.6, 1.0]))
        >>> predictions.most_doubtful(np.array([3, 0, 2]), 1)
        array([0])
    """

    def __init__(self, size, directory=None):
        self._grows = size is None
        self._values = filled((size or 0,), np.nan, np.float32, directory)
        self._doubts = filled((size or 0,), 0, np.float32, directory)  # |measured - predicted|; 0 or NaN where there is none
        self._next = 0  # the first that `forget_next` forgets

    def of(self, indices):
        """`(n,)` float32, NaN where there is none."""
        indices = self._checked(indices)
        return self._values[indices]

    def keep(self, indices, values):
        indices = self._checked(indices)
        self._values[indices] = values
        self._doubts[indices] = 0

    def compare(self, indices, values):
        """Takes note of what was measured where this had been predicted. Of an index that occurs twice the last value counts; one
        that is not finite says nothing."""
        indices = self._checked(indices)
        finite = np.isfinite(values)
        indices = indices[finite]
        self._doubts[indices] = np.abs(values[finite] - self._values[indices])

    def most_doubtful(self, indices, count):
        """Positions in `indices` of those predictions that were the furthest off, in order: so many, or all that were off."""
        doubts = self._doubts[self._checked(indices)]
        doubtful = np.flatnonzero(doubts > 0)  # not those without a prediction, whose doubt is NaN
        if not 0 < count < len(doubtful):
            return doubtful[:count]
        least = np.partition(doubts[doubtful], -count)[-count]
        above = doubtful[doubts[doubtful] > least]
        level = doubtful[doubts[doubtful] == least]
        return np.sort(np.concatenate([above, level[: count - len(above)]]))

    def forget_next(self, count):
        """Forgets so many in the order of their indices, going on where it stopped; after the last comes the first again."""
        self._forget(slice(self._next, self._next + count))
        self._next = self._next + count if self._next + count < len(self._values) else 0

    def forget_all(self):
        self._forget(slice(None))

    def get_state(self) -> State:
        return {"values": kept(self._values), "doubts": kept(self._doubts), "next": self._next}

    def set_state(self, state):
        """Restores what `get_state` returned.

        Raises:
            ValueError: the state is of another size.
        """
        values = np.asarray(state["values"], np.float32)
        doubts = np.asarray(state.get("doubts", np.zeros_like(values)), np.float32)  # older states have none
        if values.shape != doubts.shape:
            raise ValueError(f"`state` must have a doubt for each prediction. Received: {doubts.shape} for {values.shape}")
        if values.shape == self._values.shape:
            self._values[:], self._doubts[:] = values, doubts
        elif self._grows:
            self._values, self._doubts = values.copy(), doubts.copy()
        else:
            raise ValueError(f"`state` must be of {len(self._values)} predictions. Received: of {len(values)}")
        self._next = int(state["next"])

    def _forget(self, part):
        self._values[part] = np.nan
        self._doubts[part] = 0

    def _checked(self, indices):
        indices, size = checked(indices, len(self._values), self._grows)
        if size > len(self._values):
            missing = size - len(self._values)
            self._values = np.pad(self._values, (0, missing), constant_values=np.nan)
            self._doubts = np.pad(self._doubts, (0, missing))
        return indices
