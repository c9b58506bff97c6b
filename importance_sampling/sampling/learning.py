"""Learning from the losses of draws: what the importance, the smoothing and the variance ratio are told.

Batches that were drawn from one pool at once are one draw, dealt out. So they can be told as one, which costs little more than
telling one of them: nothing that is learnt matters before the next pool is scored.
"""

import itertools
import math

import numpy as np

from importance_sampling.sampling.measures import RunningMoments
from importance_sampling.types import Draw, State


class Learning:
    """Tells the parts of a sampler what was measured of its draws.

    Args:
        importance, smoothing: the parts.

    Attributes:
        moments: `RunningMoments` of the draws, which tell the variance ratio.
    """

    def __init__(self, importance, smoothing):
        self._importance, self._smoothing = importance, smoothing
        self.moments = RunningMoments(2)
        self._waiting = []

    def take(self, draw, values, gnorms):
        """Keeps what was measured of a draw until `learn`.

        Args:
            draw (Draw): b samples.
            values: `(b,)` float64, the quantity of the importance.
            gnorms: `(b,)` float64, what the variance ratio goes by.
        """
        self._waiting.append((draw, values, gnorms))

    def learn(self):
        """Tells all that was kept, in order."""
        waiting, self._waiting = self._waiting, []
        for _, of_pool in itertools.groupby(waiting, lambda taken: id(taken[0].pool_indices)):
            draws, values, gnorms = zip(*of_pool)
            self._of_pool(draws, values, gnorms)

    def forget(self):
        """Drops what was kept."""
        self._waiting = []

    def get_state(self, row_of) -> State:
        """What was kept, of draws that `row_of` gives a number for. If it gives None for one, all is learnt before."""
        rows = [row_of(draw) for draw, _, _ in self._waiting]
        if None in rows:
            self.learn()
            rows = []
        values = {str(row): taken[1].copy() for row, taken in zip(rows, self._waiting)}
        return {"values": values, "gnorms": {str(row): taken[2].copy() for row, taken in zip(rows, self._waiting)}}

    def set_state(self, state, draw_of):
        """Keeps what `get_state` returned, of draws that `draw_of` gives for their numbers."""
        self._waiting = [(draw_of(int(row)), values, state["gnorms"][row]) for row, values in state["values"].items()]

    def _of_pool(self, draws, values, gnorms):
        for draw, of_draw in zip(draws, values):
            self._smoothing.observe(_mean(draw, of_draw))
        draw, of_all, norms = together(draws), np.concatenate(values), np.concatenate(gnorms)
        if draw.pool_size > len(draws[0]):  # else there was no choice
            self.moments.observe(draw, norms, draw.relative)
            self._smoothing.judge(draw, norms)
        self._importance.judge(draw, norms)
        if self._importance.learns_at_once:
            self._importance.update(draw.indices, draw.labels, of_all)
        else:
            for draw, of_draw in zip(draws, values):
                self._importance.update(draw.indices, draw.labels, of_draw)


def together(draws):
    """Draws from one pool as the one draw that they are; it does not read samples.

    Example:
        >>> one = Draw(np.array([3]), None, np.array([0.5]), np.ones(1, np.float32), np.ones(1), 2)
        >>> both = together([one, one])
        >>> both.indices, both.relative, both.batches
        (array([3, 3]), array([1., 1.]), 2)
    """
    if len(draws) == 1:
        return draws[0]
    first, count = draws[0], len(draws)
    joined = lambda name: np.concatenate([getattr(draw, name) for draw in draws])  # noqa: E731
    return Draw(
        joined("indices"),
        None if first.labels is None else joined("labels"),
        count * joined("expected"),
        joined("weights"),
        joined("scores"),
        first.pool_size,
        None,
        first.pool_indices,
        first.pool_scores,
        None if first.pool_expected is None else count * first.pool_expected,
        batches=count,
    )


def _mean(draw, values):
    """The unbiased estimate of the mean over the data set; NaN where nothing is known."""
    known = np.isfinite(values)
    return float(np.mean(values[known] / draw.relative[known])) if known.any() else math.nan
