"""Where randomness begins."""

import numpy as np


def seeds_of(seed):
    """A `numpy.random.SeedSequence` of what a user gives as a seed.

    Raises:
        ValueError: it is none.

    Example:
        >>> seeds_of(3).entropy
        3
    """
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if not (seed is None or isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0):
        raise ValueError(f"`seed` must be None, a whole number >= 0 or a numpy.random.SeedSequence. Received: seed={seed!r}")
    return np.random.SeedSequence(seed)
