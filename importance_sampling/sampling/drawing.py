"""Choosing b of B candidates by positive numbers s_i, and how often each is expected to be chosen.

Weights come from these expected counts and assume nothing else, so any rule is right whose counts are true: with or without
replacement, in proportion to s_i or not.
"""

from abc import ABC, abstractmethod

import numpy as np

from importance_sampling.registry import OfFunction, Part, Registry


class Drawing(Part, ABC):
    """A drawing rule. A class of one's own must have `draw`.

    Attributes:
        divisible (bool, default False): whether `m b` draws may be dealt to m batches: expected counts grow as the number that is
            drawn does.
    """

    divisible = False

    @abstractmethod
    def draw(self, scores, b, rng):
        """Chooses b of B candidates.

        Args:
            scores: `(B,)` float64, smoothed, >= 0 and at least one above, with a sum of 1.
            b (int): how many to choose, in [1, B].
            rng (numpy.random.Generator): the only source of randomness.

        Returns:
            `(b,)` int64 positions in [0, B), and `(B,)` float64 expected counts, with a sum of b: how often each candidate is among
            the positions, on average over the randomness.
        """


class FunctionDrawing(OfFunction, Drawing):
    """A function of `(scores, b, rng)` that returns what `Drawing.draw` does."""

    @property
    def divisible(self):
        return self._function in (multinomial, systematic)

    def draw(self, scores, b, rng):
        return self._function(scores, b, rng)


def multinomial(scores, b, rng):
    """Independent draws with replacement, as in line 6 of Algorithm 1 (arXiv:1706.00043). Expected counts are `b p_i`.

    Example:
        >>> multinomial(np.array([0.0, 1.0]), 3, np.random.default_rng(0))
        (array([1, 1, 1]), array([0., 3.]))
    """
    return _invert(scores, rng.random(b)), b * scores


def systematic(scores, b, rng):
    """Draws at b equally spaced points with one common random offset (systematic resampling). Expected counts are `b p_i`.

    Every count is `floor(b p_i)` or `ceil(b p_i)`, the least variance that draws with this mean can have. The candidates are put in
    random order before: else data whose order has a period, as classes in turn or the hours of days, give batches of one phase.

    Example:
        >>> positions, expected = systematic(np.array([0.25, 0.75]), 4, np.random.default_rng(0))
        >>> sorted(positions.tolist()), expected
        ([0, 1, 1, 1], array([1., 3.]))
    """
    order = rng.permutation(len(scores))
    return order[_at_equal_spaces(scores[order], b, rng)], b * scores


def _at_equal_spaces(scores, b, rng):
    """`(b,)` positions, in the order of the candidates."""
    return _invert(scores, (np.arange(b) + rng.random()) / b)


def without_replacement(scores, b, rng):
    """Each candidate at most once: systematic sampling in random order, with probabilities in proportion to size.

    Candidate i is chosen with probability `pi_i = min(1, c s_i)`, where c makes their sum b; b candidates are chosen, always. Those
    with the largest scores may be certain. Where fewer than b scores are above 0, the rest is chosen among the others uniformly.

    References:
        Madow (1949), On the theory of systematic sampling, II; in random order: Hartley and Rao (1962), Sampling with unequal
        probabilities and without replacement.

    Example:
        >>> positions, expected = without_replacement(np.array([0.7, 0.1, 0.1, 0.1]), 2, np.random.default_rng(0))
        >>> expected.round(3)
        array([1.   , 0.333, 0.333, 0.333])
        >>> 0 in positions
        True
    """
    inclusion = inclusion_probabilities(scores, b)
    certain = np.flatnonzero(inclusion == 1)
    others = rng.permutation(np.flatnonzero(inclusion < 1))
    missing = b - len(certain)
    if not missing:
        return certain, inclusion
    return np.concatenate([certain, others[_at_equal_spaces(inclusion[others] / missing, missing, rng)]]), inclusion


def inclusion_probabilities(scores, b):
    """`min(1, c s_i)` with the c for which the sum is b, `(B,)`.

    Example:
        >>> inclusion_probabilities(np.array([3.0, 1.0, 1.0]), 2)
        array([1. , 0.5, 0.5])
    """
    positive = np.count_nonzero(scores)
    if positive <= b:  # all of them, and some of the others
        return np.where(scores > 0, 1.0, (b - positive) / max(len(scores) - positive, 1))
    certain = np.zeros(len(scores), bool)
    while True:
        inclusion = (b - certain.sum()) / scores[~certain].sum() * scores
        more = ~certain & (inclusion > 1 - 1e-9)
        if not more.any():
            return np.where(certain, 1.0, inclusion)
        certain |= more


def _invert(probabilities, points):
    """Maps points in [0, 1) through the inverse of the cumulative distribution; never lands on a zero probability."""
    cumulative = np.cumsum(probabilities)
    positions = np.searchsorted(cumulative, points * cumulative[-1], side="right")
    largest = positions.max()
    if largest < len(probabilities) and probabilities[largest] > 0:
        return positions
    return np.minimum(positions, np.flatnonzero(probabilities)[-1])  # round-off has put a point just below 1 onto the end


DRAWINGS = Registry("draws", Drawing, FunctionDrawing, "of (scores, b, rng) that returns positions and expected counts")
DRAWINGS.register("multinomial", multinomial)
DRAWINGS.register("systematic", systematic)
DRAWINGS.register("without_replacement", without_replacement)
