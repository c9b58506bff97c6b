"""Whether scoring can pay, told by what is trained on: the threshold tau of arXiv:1803.00942."""

import math

import numpy as np

from importance_sampling.types import State

_LEAST, _MOMENTUM = 20, 0.95  # batches


class Gain:
    """`tau`, the square root of how many times as large a uniform batch would have to be for the gradient that ideal scores give.

    With gradient norms g, scores in proportion to g reduce the second moment of the gradient from `mean(g^2)` to `mean(g)^2`, and a
    batch `tau^2` times as large would do the same. tau is at least 1, and 1 where all samples count the same. A moving mean of some
    20 batches, which need not be uniform draws.

    References:
        Section 3.3 of arXiv:1803.00942.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import Draw
        >>> gain, draw = Gain(), Draw(np.arange(2), None, np.ones(2), np.ones(2, np.float32), np.ones(2), 2)
        >>> for _ in range(20):
        ...     gain.observe(draw, np.array([1.0, 3.0]))
        >>> round(gain.tau, 3)
        1.118
    """

    def __init__(self):
        self._batches, self._sums = 0, np.zeros(2)  # moving means of g and g^2

    @property
    def tau(self):
        """A float; None before 20 batches, or where no gradient was above 0."""
        first, second = self._sums
        if self._batches < _LEAST or not 0 < second < math.inf:
            return None
        known = 1 - _MOMENTUM**self._batches  # the weight of all batches so far
        return math.sqrt(max(second * known / first**2, 1.0))

    def observe(self, draw, gnorms):
        """Takes in a draw, and `(b,)` gradient norms, or losses in their place; those that are not finite are left out."""
        finite = np.isfinite(gnorms)
        if not finite.any():
            return
        g, q = np.asarray(gnorms, np.float64)[finite], draw.relative[finite]
        self._sums = _MOMENTUM * self._sums + (1 - _MOMENTUM) * np.array([np.mean(g / q), np.mean(g**2 / q)])
        self._batches += 1

    def get_state(self) -> State:
        return {"batches": self._batches, "sums": self._sums.copy()}

    def set_state(self, state):
        self._batches, self._sums = int(state["batches"]), np.array(state["sums"], np.float64)
