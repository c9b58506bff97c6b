"""Where the candidates of a draw come from: B of the N samples of the data set, uniformly (line 4 of Algorithm 1)."""

import numpy as np

from importance_sampling.data.structures import map_arrays, take
from importance_sampling.types import State


class Once:
    """Reads the samples of a pool once: what an importance has read to score it need not be read again to train on it.

    Args:
        read: maps positions in the pool, `(n,)` ints, to their `(x, y, sample_weight)`.
    """

    def __init__(self, read):
        self._read = read
        self._parts = {}  # position: the batch it was read in, its place there

    def __call__(self, positions):
        """The samples at some positions, `(x, y, sample_weight)`."""
        if not all(int(p) in self._parts for p in positions):
            batch = self._read(positions)
            self._parts.update({int(p): (batch, place) for place, p in enumerate(positions)})
            return batch
        found = [self._parts[int(p)] for p in positions]
        samples = [take(batch, place) for batch, place in found]
        return map_arrays(lambda *leaves: np.stack(leaves), *samples)


class RandomPools:
    """Each pool is a new uniform choice of B different samples."""

    def __init__(self, size):
        self.size = size

    def next(self, count, rng):
        """Returns `(count,)` int64 indices."""
        if count == self.size:
            return np.arange(self.size)
        return rng.choice(self.size, count, replace=False, shuffle=False)

    def get_state(self) -> State:
        return {}

    def set_state(self, state):
        """There is nothing to restore: the randomness is the generator's."""


class OrderedPools:
    """Pools walk through an order of the data set and go on where the last one stopped.

    Every sample is a candidate equally often. A pool that reaches the end of the order takes the rest from the start
    of the next one, so that all pools have the same size.

    Args:
        size: N.
        shuffled: a new random permutation for each pass, or the order of the data itself.
    """

    def __init__(self, size, shuffled=True):
        self.size = size
        self.shuffled = shuffled
        self._order = np.empty(0, np.int64)
        self._position = 0

    def next(self, count, rng):
        """Returns `(count,)` int64 indices."""
        parts, missing = [], count
        while missing:
            if self._position == len(self._order):
                self._order = rng.permutation(self.size) if self.shuffled else np.arange(self.size)
                self._position = 0
            part = self._order[self._position : self._position + missing]
            self._position += len(part)
            missing -= len(part)
            parts.append(part)
        return np.concatenate(parts)

    def get_state(self) -> State:
        return {"order": self._order.copy(), "position": self._position}

    def set_state(self, state):
        self._order = np.array(state["order"], np.int64)
        self._position = int(state["position"])


POOLS = {
    "random": RandomPools,
    "permutation": OrderedPools,
    "sequential": lambda size: OrderedPools(size, shuffled=False),
}
