"""No importance: every sample counts the same."""

import numpy as np

from importance_sampling.importance.base import IMPORTANCES, Importance


class Uniform(Importance):
    """Uniform sampling, the baseline of the paper.

    There is nothing to choose: the pool is the batch, every weight is 1, and nothing is scored or learnt.

    Cost: none.

    Example:
        >>> from importance_sampling import ImportanceSampler, ArraySource
        >>> import numpy as np
        >>> sampler = ImportanceSampler(ArraySource(np.zeros((6, 2)), np.zeros(6)), importance=Uniform(), seed=0)
        >>> sampler.draw(3).weights
        array([1., 1., 1.], dtype=float32)
    """

    quantity = None

    def score(self, pool):
        """Returns `(B,)` ones."""
        return np.ones(len(pool))

    def update(self, indices, labels, values):
        """There is nothing to learn."""


IMPORTANCES.register("uniform", Uniform)
