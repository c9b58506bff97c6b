"""The importance of a sample is what its class lost lately ("pcg", section 4.3 of arXiv:1706.00043)."""

import numpy as np

from importance_sampling.arguments import number
from importance_sampling.importance.base import IMPORTANCES, Importance
from importance_sampling.importance.by_class import grown
from importance_sampling.types import State


class PerClassGaussian(Importance):
    """The mean of a running univariate Gaussian of the loss for each class.

    The sums behind it are discounted at each batch in which the class occurs, so that it follows the falling loss. A class that
    was not seen yet has the mean over all classes.

    Cost: a look-up for each candidate and a sum over the batch.

    Args:
        decay (float, default 0.95): number in [0, 1], what a batch leaves of the sums before it. 1 never forgets, 0 keeps the last
            batch.
        quantity (str, default "loss"): what is modelled, `"loss"` or `"gnorm"` (the gradient-norm bound, from the same backward
            pass).

    Raises:
        ValueError: `decay` is outside [0, 1] or `quantity` is unknown.

    Example:
        >>> import numpy as np
        >>> gaussian = PerClassGaussian()
        >>> gaussian.build(size=4, classes=2, seed=0)
        >>> gaussian.update(np.array([0, 1, 2]), np.array([0, 0, 1]), np.array([1.0, 3.0, 5.0]))
        >>> gaussian.mean
        array([2., 5.])
    """

    uses_labels = True
    needs_labels = True
    pool_batches = 64
    draws_ahead = 8

    def __init__(self, decay=0.95, quantity="loss"):
        if quantity not in ("loss", "gnorm"):
            raise ValueError(f"`quantity` must be 'loss' or 'gnorm'. Received: quantity={quantity!r}")
        self.decay = number("decay", decay, "in [0, 1]", lambda decay: 0 <= decay <= 1)
        self.quantity = quantity

    def build(self, size, classes, seed):
        """Starts with nothing known of `classes` classes; more are added when they come."""
        self._sums = np.zeros((2, classes or 0))  # discounted count and sum

    @property
    def mean(self):
        """`(C,)` mean of each class; the mean over all for a class not seen, 1 before anything was seen."""
        count, total = self._sums
        overall = total.sum() / count.sum() if count.any() else 1.0
        return np.divide(total, count, out=np.full(len(count), overall), where=count > 0)

    def score(self, pool):
        """Returns `(B,)` float64, the mean of each candidate's class."""
        self._sums = grown(self._sums, pool.labels)
        return self.mean[pool.labels]

    def update(self, indices, labels, values):
        """Takes in the values of one batch; those that are not finite are left out.

        Args:
            indices: not used.
            labels: `(b,)` class ids.
            values: `(b,)` losses or gradient norms.
        """
        values = np.asarray(values, np.float64)
        finite = np.isfinite(values)
        labels, values = labels[finite], values[finite]
        self._sums = grown(self._sums, labels)
        classes = self._sums.shape[1]
        batch = np.stack([np.bincount(labels, v, classes) for v in (np.ones_like(values), values)])
        self._sums *= np.where(batch[0] > 0, self.decay, 1.0)
        self._sums += batch

    def get_state(self) -> State:
        return {"sums": self._sums.copy()}

    def set_state(self, state):
        self._sums = np.array(state["sums"], np.float64)


IMPORTANCES.register("pcg", PerClassGaussian)
