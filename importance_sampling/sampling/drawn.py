"""Batches that were drawn from one pool, and wait for their steps."""

import functools

import numpy as np

from importance_sampling.registry import described
from importance_sampling.types import Draw, State


class Drawn:
    """m batches of b samples each, drawn from one pool of B candidates at once.

    Args:
        pool (Pool): B candidates.
        scores: `(B,)` float64 before smoothing.
        smoothed: `(B,)` float64; None where nothing was scored.
        expected: `(B,)` float64, how often each candidate was expected in one batch.
        chosen: `(m, b)` ints, positions in the pool.
        weights: `(m, b)` float32.
        uniform_size: how many samples a step takes by uniform sampling; b where it is None.

    Attributes:
        measured (bool): whether the draws are to be measured and learnt from.
        left (int): how many of the batches were not given yet.
        batch_size (int): b.
    """

    def __init__(self, pool, scores, smoothed, expected, chosen, weights, measured=True, uniform_size=None):
        self.pool, self.smoothed, self.measured, self._uniform_size = pool, smoothed, measured, uniform_size
        self._scores, self._expected, self._chosen, self._weights = scores, expected, chosen, weights
        self.left, self.batch_size = chosen.shape
        self._given = {}  # draws by their row

    def next(self):
        """The next `Draw`."""
        draw = self.peek()
        self.left -= 1
        return draw

    def peek(self):
        """The one that `next` returns, the same object."""
        row = len(self._chosen) - self.left
        return self._given.get(row) or self.draw_of(row)

    def row_of(self, draw):
        """The row of a draw that was given; None of another."""
        return next((row for row, given in self._given.items() if given is draw), None)

    def draw_of(self, row):
        """The `Draw` of a row, which counts as given."""
        chosen, weights = self._chosen[row], self._weights[row]
        pool = self.pool
        labels = None if pool.labels is None else pool.labels[chosen]
        of_chosen = pool.indices[chosen], labels, self._expected[chosen], weights, self._scores[chosen]
        read = functools.partial(pool.read, chosen)
        of_pool = pool.indices, self._scores, self._expected
        draw = self._given[row] = Draw(
            *of_chosen, len(pool.indices), read, *of_pool, measured=self.measured, uniform_size=self._uniform_size
        )
        return draw

    def get_state(self) -> State:
        return {
            "indices": self.pool.indices.copy(),
            "scores": self._scores.copy(),
            "smoothed": np.zeros(0) if self.smoothed is None else self.smoothed.copy(),
            "expected": self._expected.copy(),
            "chosen": self._chosen.copy(),
            "weights": self._weights.copy(),
            "left": self.left,
            "measured": self.measured,
            "uniform_size": self._uniform_size,
        }

    @classmethod
    def of_state(cls, state, pool_of):
        """What `get_state` was called of; `pool_of` maps indices to a `Pool`."""
        scores, smoothed, expected = (np.array(state[name], np.float64) for name in ("scores", "smoothed", "expected"))
        chosen, weights = np.array(state["chosen"], np.int64), np.array(state["weights"], np.float32)
        pool = pool_of(np.array(state["indices"], np.int64))
        smoothed = smoothed if len(smoothed) else None
        drawn = cls(pool, scores, smoothed, expected, chosen, weights, bool(state["measured"]), state["uniform_size"])
        drawn.left = int(state["left"])
        return drawn


def in_order(pool, batches, measured, uniform_size):
    """A pool whose samples are taken in their order, all of them, by m batches of equal size: uniform sampling."""
    size = len(pool)
    chosen = np.arange(size).reshape(batches, -1)
    weights = np.ones(chosen.shape, np.float32)
    return Drawn(pool, np.full(size, np.nan), None, np.full(size, 1 / batches), chosen, weights, measured, uniform_size)


def dealt(values, batches):
    """`(m b,)` values dealt to m batches in turn, as cards are: `(m, b)`. What stands side by side comes into different batches."""
    return values.reshape(-1, batches).T


def check_drawn(drawing, chosen, expected, b, size):
    """Refuses what a drawing rule must not return.

    Raises:
        ValueError: see `Drawing.draw`.
    """
    rule = None
    if not (isinstance(chosen, np.ndarray) and chosen.dtype.kind in "iu" and isinstance(expected, np.ndarray)):
        rule, received = (
            "return two arrays, whole positions and expected counts",
            f"{type(chosen).__name__} and {type(expected).__name__}",
        )
    elif np.shape(chosen) != (b,):
        rule, received = f"return {b} positions", f"shape {np.shape(chosen)}"
    elif chosen.min() < 0 or chosen.max() >= size:
        rule, received = f"return positions in [0, {size})", chosen.min() if chosen.min() < 0 else chosen.max()
    elif np.shape(expected) != (size,):
        rule, received = f"return {size} expected counts", f"shape {np.shape(expected)}"
    elif not abs(expected.sum() - b) <= 1e-6 * b:
        rule, received = f"return expected counts with a sum of {b}", expected.sum()
    elif not expected[chosen].min() > 0:
        rule, received = "expect what it chooses", f"an expected count of {expected[chosen].min()} for a chosen position"
    if rule:
        raise ValueError(f"`draws` must {rule}. Received: {received} from {described(drawing)}")


def check_weights(reweighting, weights, b):
    """Refuses weights that are none.

    Raises:
        ValueError: they are not `(b,)` finite numbers >= 0.
    """
    if weights.shape != (b,) or not (weights.min() >= 0 and np.isfinite(weights.max())):
        raise ValueError(f"`reweighting` must return {b} finite numbers >= 0. Received: {weights} from {described(reweighting)}")
