"""Predictions that are kept until they are no longer true."""

import numpy as np

from importance_sampling.data.large import filled, kept
from importance_sampling.importance.history import checked
from importance_sampling.types import State


class Predictions:
    """The last prediction for each of N things; none for those that were never predicted, or forgotten since.

    Memory is 4 bytes a thing.

    Args:
        size (int or None): N; None makes room for those that come.
        directory (path, default None): where they are kept in a file in place of memory.

    Example:
        >>> predictions = Predictions(4)
        >>> predictions.keep(np.array([0, 2]), np.array([0.5, 1.5]))
        >>> predictions.forget(np.array([2]))
        >>> predictions.of(np.arange(4))
        array([0.5, nan, nan, nan], dtype=float32)
    """

    def __init__(self, size, directory=None):
        self._grows = size is None
        self._values = filled((size or 0,), np.nan, np.float32, directory)
        self._next = 0  # the first that `forget_next` forgets

    def of(self, indices):
        """`(n,)` float32, NaN where there is none."""
        indices = self._checked(indices)
        return self._values[indices]

    def keep(self, indices, values):
        indices = self._checked(indices)
        self._values[indices] = values

    def forget(self, indices):
        self.keep(indices, np.nan)

    def forget_next(self, count):
        """Forgets so many in the order of their indices, going on where it stopped; after the last comes the first again."""
        self._values[self._next : self._next + count] = np.nan
        self._next = self._next + count if self._next + count < len(self._values) else 0

    def forget_all(self):
        self._values[:] = np.nan

    def get_state(self) -> State:
        return {"values": kept(self._values), "next": self._next}

    def set_state(self, state):
        """Restores what `get_state` returned.

        Raises:
            ValueError: the state is of another size.
        """
        values = np.asarray(state["values"], np.float32)
        if values.shape == self._values.shape:
            self._values[:] = values
        elif self._grows:
            self._values = values.copy()
        else:
            raise ValueError(f"`state` must be of {len(self._values)} predictions. Received: of {len(values)}")
        self._next = int(state["next"])

    def _checked(self, indices):
        indices, size = checked(indices, len(self._values), self._grows)
        if size > len(self._values):
            self._values = np.pad(self._values, (0, size - len(self._values)), constant_values=np.nan)
        return indices
