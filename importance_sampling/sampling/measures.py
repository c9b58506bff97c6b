"""What a draw is worth, told by the draw itself."""

import numpy as np

from importance_sampling.types import State


def effective_sample_size(draw):
    """How many samples of equal weight would have the variance that the weights of this draw leave: `(sum alpha)^2 / sum alpha^2`.

    Args:
        draw (Draw): b samples with their weights.

    Returns:
        A float in [1, b]; b where all weights are equal.

    References:
        Kish (1965), Survey Sampling.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import Draw
        >>> weights = np.array([1.0, 1.0, 2.0], np.float32)
        >>> effective_sample_size(Draw(np.arange(3), None, np.ones(3), weights, np.ones(3), 3)).round(3)
        np.float64(2.667)
    """
    weights = draw.weights.astype(np.float64)
    return weights.sum() ** 2 / np.sum(weights**2)


def variance_ratio(draw, gnorms):
    """The second moment of the unbiased estimate of the gradient by this draw's distribution, over that by a uniform one.

    With q_i = B n_i / b and the gradient norms g_i of the samples, `mean((g/q)^2) / mean(g^2/q)` estimates both from the same
    draw, without bias above and below the line. Below 1, so much smaller a batch has the same variance. Averages over some
    hundred draws tell it.

    Args:
        draw (Draw): b samples with their expected counts.
        gnorms: `(b,)` floats, their gradient norms or bounds of them; those that are not finite are left out.

    Returns:
        A float; NaN where no gradient norm is above 0.

    References:
        arXiv:2501.13296.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import Draw
        >>> draw = Draw(np.arange(2), None, np.array([0.5, 1.5]), np.ones(2, np.float32), np.ones(2), 2)
        >>> variance_ratio(draw, np.array([1.0, 3.0])).round(3)
        np.float64(1.0)
    """
    return counterfactual_ratio(draw, gnorms, draw.relative)


def counterfactual_ratio(draw, gnorms, relative):
    """The variance ratio that another distribution would have had, estimated from this draw.

    With q_i as in `variance_ratio` and `q'_i = B p'_i` of the other distribution, `mean(g^2 / (q q')) / mean(g^2/q)` estimates its
    second moment over that of a uniform one. So choices can be compared on the draws that one of them made.

    Args:
        draw (Draw): b samples with their expected counts.
        gnorms: `(b,)` floats, their gradient norms or bounds of them; those that are not finite are left out.
        relative: `(b,)` floats, `q'_i` of the drawn samples; 1 for all is the uniform distribution.

    Returns:
        A float; infinite where the other would never draw a sample that has a gradient, NaN where no gradient norm is above 0.

    References:
        arXiv:2501.13296.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import Draw
        >>> draw = Draw(np.arange(2), None, np.ones(2), np.ones(2, np.float32), np.ones(2), 2)
        >>> counterfactual_ratio(draw, np.array([1.0, 3.0]), np.array([0.5, 1.5])).round(3)
        np.float64(0.8)
    """
    moments = second_moments(draw, gnorms, np.asarray(relative))
    return moments[0] / moments[1] if moments[1] > 0 else np.float64(np.nan)


def second_moments(draw, gnorms, relative):
    """The mean of `g^2 / (q q')` over the drawn samples, `(n + 1,)`: for n distributions q', `(n, b)` or one, `(b,)`, and last for
    the uniform one, which is 1 everywhere. 0 where nothing is finite."""
    g = np.asarray(gnorms, np.float64)
    finite = np.isfinite(g)
    uniform = np.where(finite, g, 0.0) ** 2 / draw.relative  # (b,)
    with np.errstate(divide="ignore"):
        others = np.divide(uniform, relative, out=np.zeros(relative.shape), where=uniform > 0)  # no gradient costs nothing
    return np.append(others.sum(axis=-1), uniform.sum()) / max(np.count_nonzero(finite), 1)


def smoothed_relative(scores, fractions):
    """`q'_i` by scores with a constant added, `(n, b)`: for n constants, fractions of the mean score of the pool.

    Args:
        scores: `(b,)` floats >= 0, of drawn samples, over that mean.
        fractions: `(n,)` floats >= 0.
    """
    added = fractions[:, None]
    return (scores + added) / (1 + added)


class RunningMoments:
    """Second moments of the gradient by several distributions over those by uniform sampling, in the last 100 steps or so.

    Args:
        count (int): of distributions, the last of which is the uniform one.
    """

    _LEAST, _MOMENTUM = 100, 0.99  # steps

    def __init__(self, count):
        self._steps, self._moments = 0, np.zeros(count)

    @property
    def ratios(self):
        """`(count,)` float64, of moving means above and below the line; None before the hundredth step."""
        enough = self._steps >= self._LEAST and 0 < self._moments[-1] < np.inf
        return self._moments / self._moments[-1] if enough else None

    def observe(self, draw, gnorms, relative):
        """Takes in a draw, in whose pool there was a choice, and what was measured of its samples; see `second_moments`."""
        kept = self._MOMENTUM**draw.batches
        self._moments = kept * self._moments + (1 - kept) * second_moments(draw, gnorms, relative)
        self._steps += draw.batches

    def get_state(self) -> State:
        return {"steps": self._steps, "moments": self._moments.copy()}

    def set_state(self, state):
        """Restores what `get_state` returned.

        Raises:
            ValueError: the state is of another number of distributions.
        """
        moments = np.array(state["moments"], np.float64)
        if moments.shape != self._moments.shape:
            raise ValueError(f"`state` must be of {len(self._moments)} distributions. Received: of {len(moments)}")
        self._steps, self._moments = int(state["steps"]), moments
