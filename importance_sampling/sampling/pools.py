"""Which samples are the candidates of a draw."""

from abc import ABC, abstractmethod

import numpy as np

from importance_sampling.data.large import kept
from importance_sampling.registry import OfFunction, Part, Registry
from importance_sampling.types import State


class Pools(Part, ABC):
    """Which samples are the candidates of each draw. A class of one's own must have `next`.

    Attributes:
        size (int): N, known from `build` on.
    """

    def build(self, size):
        """Begins with a data set of N samples."""
        self.size = size

    @abstractmethod
    def next(self, count, rng):
        """Returns `(count,)` int64 indices in [0, N), for `count` <= N; `rng` is a `numpy.random.Generator`."""


class RandomPools(Pools):
    """Each pool is a new uniform choice of B different samples."""

    def next(self, count, rng):
        if count == self.size:
            return np.arange(self.size)
        return rng.choice(self.size, count, replace=False, shuffle=False)


class OrderedPools(Pools):
    """Pools walk through an order of the data set and go on where the last one stopped.

    Every sample is a candidate equally often. A pool that reaches the end of the order takes the rest from the start
    of the next one, so that all pools have the same size.

    Args:
        shuffled (bool, default True): a new random permutation for each pass, or the order of the data itself.
    """

    def __init__(self, shuffled=True):
        self.shuffled = shuffled

    def build(self, size):
        super().build(size)
        self._order = np.empty(0, np.int64)
        self._position = 0

    def next(self, count, rng):
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
        return {"order": kept(self._order), "position": self._position}

    def set_state(self, state):
        self._order = np.array(state["order"], np.int64)
        self._position = int(state["position"])


class FunctionPools(OfFunction, Pools):
    """A function of `(size, count, rng)`, N, B and a `numpy.random.Generator`, that returns `(count,)` indices."""

    def next(self, count, rng):
        return np.asarray(self._function(self.size, count, rng))


POOLS = Registry("pools", Pools, FunctionPools, "of (size, count, rng) that returns (count,) indices")
POOLS.register("random", RandomPools)
POOLS.register("permutation", OrderedPools(shuffled=True))
POOLS.register("sequential", OrderedPools(shuffled=False))
