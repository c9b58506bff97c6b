"""One of several importances to choose from: judged on draws that it need not have made."""

import math
import time

import numpy as np

from importance_sampling.sampling.measures import RunningMoments, smoothed_relative
from importance_sampling.types import Pool, State

_FRACTIONS = np.array([0.1, 0.2, 0.5, 1.0, 2.0, 5.0])  # of the mean score, added to every score
_KEPT = 0.95  # of the mean time of a step, with each that is measured


class Choice:
    """An importance, and what the second moment of the gradient is by it, for the best of some smoothing constants.

    Args:
        importance: it learns, and is asked for scores.
        every (int, default 1): it is judged by one of so many draws, if scores are dear.
        decay (float, default None): what a batch leaves of what was learnt before, of an importance that learns once from a pool.

    Attributes:
        seconds (float): what it takes in a step, on average lately.
    """

    def __init__(self, importance, every=1, decay=None):
        self.importance, self._decay = importance, decay
        self.seconds = 0.0
        self._moments = RunningMoments(len(_FRACTIONS) + 1)
        self._every, self._told = every, 0
        self._spent = 0.0  # seconds since it learnt

    @property
    def ratio(self):
        """The variance ratio that it would have; None before 100 steps were judged."""
        ratios = self._moments.ratios
        return None if ratios is None else float(ratios[:-1].min())

    def smoothed(self, pool):
        """`(B,)` float64, the scores of candidates, to which the best of the constants is added."""
        start = time.perf_counter()
        scores = np.maximum(np.asarray(self.importance.score(pool), np.float64), 0)
        ratios = self._moments.ratios
        fraction = _FRACTIONS[np.argmin(ratios[:-1])] if ratios is not None else 1.0
        self._spent += time.perf_counter() - start
        return scores + fraction * scores.mean()

    def judge(self, draw, gnorms):
        """Takes in a draw, of which the importance has learnt nothing yet."""
        self._told += 1
        if self._told % self._every:
            return
        start = time.perf_counter()
        scores = np.maximum(np.asarray(self.importance.score(Pool(draw.indices, draw.labels, draw.read)), np.float64), 0)
        mean = np.sum(scores / draw.relative) / np.sum(1 / draw.relative)  # of the data, estimated from the draw
        if 0 < mean < math.inf:
            self._moments.observe(draw, gnorms, smoothed_relative(scores / mean, _FRACTIONS))
        self._spent += time.perf_counter() - start

    def learn(self, indices, labels, values, batches):
        """Lets the importance learn from m batches of b samples, `(m b,)`, at once if it can."""
        start = time.perf_counter()
        if self._decay is not None:
            self.importance.decay = self._decay**batches
        if batches == 1 or self.importance.learns_at_once or not self.importance.uses_indices:  # a class learns once from a pool
            self.importance.update(indices, labels, values)
        else:
            labels = [None] * batches if labels is None else np.split(labels, batches)
            for batch in zip(np.split(indices, batches), labels, np.split(values, batches)):
                self.importance.update(*batch)
        spent = (self._spent + time.perf_counter() - start) / batches
        self.seconds, self._spent = _KEPT * self.seconds + (1 - _KEPT) * spent if self.seconds else spent, 0.0

    def get_state(self) -> State:
        return {"importance": self.importance.get_state(), "moments": self._moments.get_state(), "told": self._told}

    def set_state(self, state):
        self.importance.set_state(state["importance"])
        self._moments.set_state(state["moments"])
        self._told = int(state["told"])


def decision(name, steps, ratios, charge):
    """The sentence that says what was chosen after so many steps, and why.

    Args:
        ratios: by name, those that were considered.
        charge: of the time of a step, the part that it takes.
    """
    others = ", ".join(f"by {other!r} {ratio:.2f} times" for other, ratio in ratios.items() if other != name)
    if name == "uniform":
        said = f"the gradient would vary {others} as much, with the time that takes no less"
    else:
        said = f"the gradient varies {ratios[name]:.2f} times as much as by uniform sampling" + (others and f", {others}")
        said += f"; it takes {100 * charge:.1f} % of a step"
    return f"importance 'auto' has chosen {name!r} after {steps} steps: {said}."
