"""Smoothing of importance scores (section 3.3.1 of arXiv:1706.00043).

A sample that is wrongly predicted to be easy gets a small probability and so a huge weight. Adding a constant to every
score bounds that weight and pulls the distribution towards uniform.
"""

import math
from abc import ABC, abstractmethod

import numpy as np

from importance_sampling.arguments import number
from importance_sampling.registry import OfFunction, Part, Registry, described
from importance_sampling.types import State

_MOST = 1 / 8  # of a batch, that one candidate is expected to be
_UNIFORM = "Importance scores must be finite; this draw, and any like it, is uniform."


class Smoothing(Part, ABC):
    """What happens to the scores before a draw. A class of one's own must have `__call__`.

    Attributes:
        uses_gnorms (bool, default False): whether `judge` is to be told of gradient-norm bounds, whatever the importance goes by.
    """

    uses_gnorms = False

    @abstractmethod
    def __call__(self, scores):
        """Maps `(B,)` float64 scores >= 0 to `(B,)` numbers >= 0 that the candidates are drawn in proportion to."""

    def observe(self, mean):
        """Told after each step of `mean`, a float: the estimated mean of what was measured, over the data set. By default it
        does not matter."""

    def judge(self, draw, gnorms):
        """Told of every step in which there was a choice: its `Draw`, and the gradient-norm bounds that were measured, `(b,)`,
        losses where no bounds are. Several batches of one pool may be told as one, `draw.batches` says how many. By default they
        do not matter."""


class FunctionSmoothing(OfFunction, Smoothing):
    """A function of `(B,)` scores that returns `(B,)` numbers >= 0."""

    def __call__(self, scores):
        return np.asarray(self._function(scores), np.float64)


class additive(Smoothing):
    """Adds a constant to every score: `s + c`.

    c = 0 leaves the scores as they are; c -> inf draws uniformly.

    Args:
        c (float): number >= 0, in the unit of the scores (the loss, for the importances of the paper).

    Raises:
        ValueError: `c` is negative or not finite.

    Example:
        >>> import numpy as np
        >>> additive(0.5)(np.array([0.0, 1.0]))
        array([0.5, 1.5])
    """

    def __init__(self, c):
        self.c = non_negative("smoothing", c)

    def __call__(self, scores):
        return scores + self.c

    def __repr__(self):
        return f"additive({self.c})"


class power(Smoothing):
    """Raises every score to a power: `s ** a`.

    a = 1 leaves the scores as they are; a = 0 draws uniformly. It is not in the paper: it flattens a distribution whose
    scores have no natural unit.

    Args:
        a (float): number >= 0, without unit.

    Raises:
        ValueError: `a` is negative or not finite.

    Example:
        >>> import numpy as np
        >>> power(0.5)(np.array([4.0, 9.0]))
        array([2., 3.])
    """

    def __init__(self, a):
        self.a = non_negative("a", a)

    def __call__(self, scores):
        return scores**self.a

    def __repr__(self):
        return f"power({self.a})"


class adaptive(Smoothing):
    """Adds a fraction of the mean training loss to every score: `s + fraction * max(mean, 0)`.

    The mean is an exponential moving average over mini-batches, without the bias of its start. Each mini-batch
    contributes its unbiased estimate of the mean over the data set, `mean(l_i / (B p_i))`, so that drawing harder
    samples does not by itself raise the constant. Before the first mini-batch every score becomes 1: nothing is known,
    so the draw is uniform.

    Args:
        fraction (float, default 0.5): number >= 0. The paper's rule of thumb, and the default, is 1/2.
        momentum (float, default 0.9): number in [0, 1), how much of the average a new mini-batch leaves in place. 0 is the last
            mini-batch.

    Raises:
        ValueError: `fraction` is negative or not finite; `momentum` is outside [0, 1).

    Example:
        >>> import numpy as np
        >>> smooth = adaptive(0.5)
        >>> smooth.observe(2.0)
        >>> smooth(np.array([0.0, 3.0]))
        array([1., 4.])

    References:
        Sections 3.3.1 and 4.2 of arXiv:1706.00043.
    """

    def __init__(self, fraction=0.5, momentum=0.9):
        self.fraction = non_negative("fraction", fraction)
        self.momentum = number("momentum", momentum, "in [0, 1)", lambda momentum: 0 <= momentum < 1)
        self._sum = 0.0
        self._weight = 0.0

    @property
    def mean(self):
        """The moving average of the training loss, or None before the first mini-batch."""
        return self._sum / self._weight if self._weight else None

    def __call__(self, scores):
        mean = self.mean
        return np.ones_like(scores) if mean is None else scores + self.fraction * max(mean, 0.0)

    def observe(self, mean):
        """Takes in one mini-batch mean; one that is not finite is left out."""
        if math.isfinite(mean):
            self._sum = self.momentum * self._sum + (1 - self.momentum) * float(mean)
            self._weight = self.momentum * self._weight + (1 - self.momentum)

    def get_state(self) -> State:
        return {"sum": self._sum, "weight": self._weight}

    def set_state(self, state):
        self._sum, self._weight = float(state["sum"]), float(state["weight"])

    def __repr__(self):
        return f"adaptive({self.fraction}, momentum={self.momentum})"


def probabilities(smoothing, scores, warn):
    """Smoothed scores over their sum, `(B,)` float64; uniform where that says nothing.

    None is above an eighth, or above 4 / B in a pool of few: what is more goes to the others in proportion to theirs. So a few
    samples with an enormous loss do not take the batch from all others; their weights are those of the probabilities they have.

    Args:
        smoothing (Smoothing): maps scores to numbers >= 0.
        scores: `(B,)` float64; NaN or infinite ones are warned of.
        warn: function of a kind of warning and a text.

    Raises:
        ValueError: the smoothing returns what it must not.
    """
    lowest, highest = scores.min(), scores.max()  # NaN where one is
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        warn("scores", f"{_UNIFORM} Received: {scores[~np.isfinite(scores)][0]} among {len(scores)} scores")
        return np.full(len(scores), 1 / len(scores))
    smoothed = smoothing(scores)
    if np.shape(smoothed) != scores.shape or np.min(smoothed) < 0:
        received = f"shape {np.shape(smoothed)}" if np.shape(smoothed) != scores.shape else np.min(smoothed)
        raise ValueError(f"`smoothing` must return {len(scores)} numbers >= 0. Received: {received} from {described(smoothing)}")
    largest = smoothed.max()
    if not math.isfinite(largest):
        warn("smoothing", f"{_UNIFORM} Received: {largest} after smoothing by {smoothing}")
        return np.full(len(scores), 1 / len(scores))
    if largest <= 0:  # every sample is handled
        return np.full(len(scores), 1 / len(scores))
    smoothed = smoothed / largest  # their sum cannot overflow
    total, most = smoothed.sum(), max(_MOST, 4 / len(scores))
    return smoothed / total if 1 / total <= most else _capped(smoothed / total, most)


def _capped(p, most):
    """Probabilities, none of which is above `most`; as they are where the others have none."""
    found, capped = p, np.zeros(len(p), bool)
    while (found > most).any():
        capped = capped | (found > most)
        rest, taken = np.where(capped, 0.0, p), most * np.count_nonzero(capped)
        if rest.sum() == 0:
            return p
        found = np.where(capped, most, rest * max((1 - taken) / rest.sum(), 1.0))  # no less, by round-off, than they had
    return found


def non_negative(name, value):
    """The value as a float.

    Raises:
        ValueError: it is negative, not finite or no number.
    """
    return number(name, value, ">= 0", lambda value: value >= 0)


SMOOTHINGS = Registry("smoothing", Smoothing, FunctionSmoothing, "of (B,) scores that returns (B,) numbers >= 0", additive)
SMOOTHINGS.register("adaptive", adaptive)
