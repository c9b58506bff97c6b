"""Sample weights alpha_i from expected counts n_i (eq. 11 and 12 of arXiv:1706.00043).

The paper draws from the whole data set with probabilities p_i; here the draw is from a pool, so its N is the pool size B, and
p_i is n_i / b, the share of the batch that candidate i is expected to have. Nothing else is assumed of how it was drawn.
"""

from abc import ABC, abstractmethod

import numpy as np

from importance_sampling.arguments import number
from importance_sampling.registry import OfFunction, Part, Registry


class Reweighting(Part, ABC):
    """How samples are weighed. A class of one's own must have `weights`."""

    @abstractmethod
    def weights(self, expected, chosen, k):
        """The weights of the chosen.

        Args:
            expected: `(B,)` float64, how often each candidate is expected to be chosen, with a sum of b.
            chosen: `(b,)` ints, positions in the pool.
            k (float): number <= 1; at 1 the weights should be unbiased, `alpha_i = b / (B n_i)`.

        Returns:
            `(b,)` floats >= 0.
        """


class FunctionReweighting(OfFunction, Reweighting):
    """A function of `(expected, chosen, k)` that returns `(b,)` weights."""

    def weights(self, expected, chosen, k):
        return self._function(expected, chosen, k)


def literal(expected, chosen, k):
    """The paper's weights, `alpha_i = 1 / (B p_i^k)` (eq. 12).

    k = 1 is unbiased (eq. 11). For k < 1 the mean weight falls with k (to about B^(k-1) where p is near 1/B), and the
    step of plain SGD with it.

    Args:
        expected: `(B,)` float64, expected counts over the pool, with a sum of b.
        chosen: `(b,)` ints, positions in the pool.
        k (float): number <= 1.

    Returns:
        `(b,)` float64.

    Example:
        >>> import numpy as np
        >>> literal(np.array([0.5, 1.5]), np.array([0, 1]), k=1.0)
        array([2.        , 0.66666667])
    """
    p = expected[chosen] / len(chosen)
    with np.errstate(over="ignore"):  # far below k = 0 the weights of the formula are 0
        return 1.0 / (len(expected) * p**k)  # eq. 12, arXiv:1706.00043


def rescaled(expected, chosen, k):
    """The paper's weights times a constant of the pool, so that the loss keeps its scale for every k.

    With q_i = B p_i, which is 1 on average over the pool:

        alpha_i = q_i^-k / mean_j(q_j^(2 - k))

    k = 1 is exactly eq. 11. For k < 1 the weights are those of eq. 12 up to a factor of the pool, so that given the pool the
    expected gradient points where that of eq. 12 does. The factor is the one for which `E[alpha q] = 1`: the weighted
    importance of a batch is on average that of a uniform batch. It is smaller for a pool with outliers, so over pools of
    few samples the average direction is pulled less towards them than by `literal`.

    Args:
        expected: `(B,)` float64, expected counts over the pool, with a sum of b.
        chosen: `(b,)` ints, positions in the pool.
        k (float): number <= 1.

    Returns:
        `(b,)` float64.

    Example:
        >>> import numpy as np
        >>> expected = np.array([0.5, 1.5])
        >>> rescaled(expected, np.array([0, 1]), k=1.0)
        array([2.        , 0.66666667])
        >>> rescaled(expected, np.array([0, 1]), k=0.0)
        array([0.8, 0.8])
    """
    q = len(expected) * (expected / len(chosen))
    drawable = q[q > 0]
    largest = drawable.max()  # powers of q / max(q) <= 1 cannot overflow, however far k is below 1
    scale = np.sum((drawable / largest) ** (2 - k)) / len(q)
    return (q[chosen] / largest) ** -k / (scale * largest**2)


def check_k(k):
    """Refuses a k that the formulas do not cover.

    Raises:
        ValueError: `k` is NaN, infinite or above 1.
    """
    number("k", k, "<= 1, and finite (1 is unbiased)", lambda k: k <= 1)


REWEIGHTINGS = Registry("reweighting", Reweighting, FunctionReweighting, "of (expected, chosen, k) that returns (b,) weights")
REWEIGHTINGS.register("rescaled", rescaled)
REWEIGHTINGS.register("literal", literal)
