"""Smoothing by measurement: the constant is the one for which the batches say that the gradient varies least."""

import math

import numpy as np

from importance_sampling.sampling.measures import counterfactual_moments
from importance_sampling.sampling.smoothing import SMOOTHINGS, Smoothing, non_negative
from importance_sampling.types import State


class measured(Smoothing):
    """Adds that fraction of the mean score for which the gradient is estimated to vary least: `s + fraction * mean(s)`.

    Every batch tells what each of the fractions would have made of the second moment of the gradient, see `counterfactual_ratio`.
    The estimates are moving means over some 100 steps. Draws are uniform until 100 steps were measured, and go on to be where
    no fraction beats that.

    Args:
        fractions (tuple of floats, default (0, 0.1, 0.2, 0.5, 1, 2, 5)): numbers >= 0, without unit, of the mean score of the pool.
            Uniform sampling, an infinite fraction, is always among the choices.

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
    _LEAST, _MOMENTUM = 100, 0.99  # steps

    def __init__(self, fractions=(0, 0.1, 0.2, 0.5, 1, 2, 5)):
        fractions = tuple(fractions)
        if not fractions:
            raise ValueError(f"`fractions` must be numbers >= 0, at least one. Received: fractions={fractions!r}")
        self._fractions = np.array([*sorted({non_negative("fractions", fraction) for fraction in fractions}), math.inf])
        self._steps, self._moments = 0, np.zeros(len(self._fractions))

    @property
    def ratios(self):
        enough = self._steps >= self._LEAST and 0 < self._moments[-1] < math.inf
        return self._moments / self._moments[-1] if enough else None

    @property
    def fraction(self):
        ratios = self.ratios
        return math.inf if ratios is None else float(self._fractions[np.argmin(ratios)])

    def __call__(self, scores):
        fraction = self.fraction
        return np.ones_like(scores) if fraction == math.inf else scores + fraction * scores.mean()

    def judge(self, draw, gnorms):
        """Takes in one draw; one whose scores are not finite says nothing."""
        scores = np.maximum(draw.pool_scores, 0)
        mean = scores.mean()
        if not 0 < mean < math.inf:
            return
        moments = counterfactual_moments(draw, gnorms, self._relative(np.maximum(draw.scores, 0) / mean))
        self._moments = self._MOMENTUM * self._moments + (1 - self._MOMENTUM) * moments
        self._steps += 1

    def _relative(self, scores):
        """`q'_i` of samples with these scores over the mean score of their pool, for each fraction: `(n + 1, b)`."""
        finite = self._fractions[:-1, None]
        return np.concatenate([(scores + finite) / (1 + finite), np.ones((1, len(scores)))])

    def get_state(self) -> State:
        return {"steps": self._steps, "moments": self._moments.copy()}

    def set_state(self, state):
        """Restores what `get_state` returned.

        Raises:
            ValueError: the state is of other fractions.
        """
        if len(state["moments"]) != len(self._fractions):
            raise ValueError(f"`state` must be of {len(self._fractions) - 1} fractions. Received: of {len(state['moments']) - 1}")
        self._steps, self._moments = int(state["steps"]), np.array(state["moments"], np.float64)

    def __repr__(self):
        return f"measured({tuple(self._fractions[:-1].tolist())})"


SMOOTHINGS.register("measured", measured)
