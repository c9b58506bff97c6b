"""Choosing b of B candidates with given probabilities, with replacement.

Both ways keep `E[count_i] = b p_i`. Each takes the probabilities `(B,)`, the number of draws b and a numpy Generator,
and returns `(b,)` int64 positions in the pool.
"""

import numpy as np


def multinomial(probabilities, b, rng):
    """Independent draws, as in line 6 of Algorithm 1 (arXiv:1706.00043).

    Example:
        >>> multinomial(np.array([0.0, 1.0]), 3, np.random.default_rng(0))
        array([1, 1, 1])
    """
    return _invert(probabilities, rng.random(b))


def systematic(probabilities, b, rng):
    """Draws at b equally spaced points with one common random offset (systematic resampling).

    Every count is `floor(b p_i)` or `ceil(b p_i)`, the least variance that draws with this mean can have.

    Example:
        >>> systematic(np.array([0.25, 0.75]), 4, np.random.default_rng(0))
        array([0, 1, 1, 1])
    """
    return _invert(probabilities, (np.arange(b) + rng.random()) / b)


DRAWS = {"multinomial": multinomial, "systematic": systematic}


def _invert(probabilities, points):
    """Maps points in [0, 1) through the inverse of the cumulative distribution; never lands on a zero probability."""
    cumulative = np.cumsum(probabilities)
    positions = np.searchsorted(cumulative, points * cumulative[-1], side="right")
    last = np.flatnonzero(probabilities)[-1]  # round-off may push a point just below 1 onto the end
    return np.minimum(positions, last)
