"""Smoothing by measurement: the constant is the one for which the batches say that the gradient varies least."""

import math

import numpy as np

from importance_sampling.arguments import numbers_of
from importance_sampling.sampling.measures import RunningMoments, smoothed_relative
from importance_sampling.sampling.smoothing import SMOOTHINGS, Smoothing
from importance_sampling.types import State


class measured(Smoothing):
    """Adds that fraction of the mean score for which the gradient is estimated to vary least: `s + fraction * mean(s)`.

    Every batch tells what each of the fractions would have made of the second moment of the gradient, see `counterfactual_ratio`.
    The estimates are moving means over some 100 steps. Draws are uniform until 100 steps were measured, and go on to be where
    no fraction beats that.

    Args:
        fractions (tuple of floats, default (0.1, 0.2, 0.5, 1, 2, 5)): numbers >= 0, without unit, of the mean score of the pool.
            Uniform sampling, an infinite fraction, is always among the choices. With 0 a sample whose score is 0 is never drawn: an
            importance that learns of a sample only when it is drawn, such as "history", then never finds out that it is wrong. Once
            such a sample has shown a gradient all the same, 0 is not used any more.

    Attributes:
        fraction (float): the one in use; infinite is uniform.
        ratios: `(n + 1,)` float64, the estimated variance ratio of each fraction in order, that of uniform sampling, 1, last; None
            before 100 steps.

    Raises:
        ValueError: there are no fractions, or one is negative or not finite.

    Example:
        >>> import numpy as np
        >>> smooth = measured()
        >>> smooth(np.array([0.0, 3.0]))
        array([1., 1.])
        >>> smooth.fraction
        inf

    References:
        arXiv:2501.13296 (the estimate); section 3.3.1 of arXiv:1706.00043 (additive smoothing).
    """

    uses_gnorms = True

    def __init__(self, fractions=(0.1, 0.2, 0.5, 1, 2, 5)):
        fractions = numbers_of("fractions", fractions, ">= 0", lambda fraction: fraction >= 0)
        self._fractions = np.array([*sorted(set(fractions)), math.inf])
        self._moments = RunningMoments(len(self._fractions))

    @property
    def ratios(self):
        return self._moments.ratios

    @property
    def fraction(self):
        ratios = self.ratios
        return math.inf if ratios is None else float(self._fractions[np.argmin(ratios)])

    def __call__(self, scores):
        fraction = self.fraction
        return np.ones_like(scores) if fraction == math.inf else scores + fraction * scores.mean()

    def judge(self, draw, gnorms):
        """Takes in one draw; one made by hand, or whose scores are not finite, says nothing."""
        mean = 0.0 if draw.pool_scores is None else np.maximum(draw.pool_scores, 0).mean()
        if 0 < mean < math.inf:
            self._moments.observe(draw, gnorms, smoothed_relative(np.maximum(draw.scores, 0) / mean, self._fractions[:-1]))

    def get_state(self) -> State:
        return self._moments.get_state()

    def set_state(self, state):
        self._moments.set_state(state)

    def __repr__(self):
        return f"measured({tuple(self._fractions[:-1].tolist())})"


SMOOTHINGS.register("measured", measured)
