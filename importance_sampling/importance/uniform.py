"""No importance: every sample counts the same."""

import numpy as np

from importance_sampling.types import State


class Uniform:
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

    of = None
    uses_indices = False
    uses_labels = False
    needs_labels = False

    def build(self, size, classes, seed):
        """There is nothing to build."""

    def score(self, pool):
        """Returns `(B,)` ones."""
        return np.ones(len(pool))

    def update(self, indices, labels, values):
        """There is nothing to learn."""

    def get_state(self) -> State:
        return {}

    def set_state(self, state):
        """There is nothing to restore."""
