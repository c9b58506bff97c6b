"""Choosing from a pool: score, smooth, draw, weigh; then learn from the losses of what was chosen.

It joins the parts of the settings, and owns the random generator. Where the pool comes from is not its business:
`ImportanceSampler` takes it from a data set, the `ImportanceSampling` callback from each batch of `fit`.
"""

import copy
import warnings

import numpy as np

from importance_sampling.arguments import whole_number
from importance_sampling.importance.base import check_kind, kind_of
from importance_sampling.sampling.batch_size import Fixed, StepInfo, checked
from importance_sampling.sampling.drawn import Drawn, check_drawn, check_weights, dealt
from importance_sampling.sampling.learning import Learning
from importance_sampling.sampling.map_seeds import MapSeeds
from importance_sampling.sampling.seeds import seeds_of
from importance_sampling.sampling.smoothing import probabilities
from importance_sampling.types import State

_AT_ONCE = 8  # no more than this part of a pool is drawn at once: scores are to be those of the last few steps


class PoolSampler:
    """Chooses b of B candidates by importance, and weighs them.

    Args:
        settings: `Settings` that are bound to a model, or to None.
        seed: int, `numpy.random.SeedSequence` or None.
        replicas: how many devices share a batch evenly.

    Attributes:
        importance, smoothing, drawing, reweighting, batch_size_rule: the parts, which learn.
        rng: numpy Generator, the only source of randomness of the draws.
        steps_done (int): how many draws were made.
    """

    def __init__(self, settings, seed, replicas=1):
        self.settings = settings
        self.importance = copy.copy(settings.importance)
        parts = (settings.smoothing, settings.draws, settings.reweighting, settings.batch_size_rule)
        self.smoothing, self.drawing, self.reweighting, self.batch_size_rule = copy.deepcopy(parts)  # they may learn
        self.k = settings.k
        self.rng = np.random.default_rng(seeds_of(seed))
        self.map_seeds = MapSeeds(self.rng)
        self.replicas = replicas
        self._fixed = isinstance(self.batch_size_rule, Fixed)
        self.steps_done = 0
        self._learning = Learning(self.importance, self.smoothing)
        self._warned = set()  # kinds

    def build(self, size, classes):
        """Readies the importance for N samples of some classes, either of which may be None where it is not needed.

        Raises:
            ValueError: the importance needs classes, and there are none.
        """
        if classes == 0 and self.importance.needs_labels:
            raise ValueError(
                "`importance` must do without classes on data that have none: 'oracle', 'history' and 'approx' do. "
                f"Received: {type(self.importance).__name__}"
            )
        self.classes = classes
        self.labelled = self.importance.uses_labels and classes != 0
        self.importance.build(size, classes, seed=int(self.rng.integers(2**31)))

    def choose(self, pool, batch_size):
        """Chooses the samples of one step.

        Args:
            pool (Pool): B candidates.
            batch_size (int): b >= 1, what the batch-size rule goes by.

        Returns:
            A `Draw` of b samples, or of all B where that is fewer. Where the pool is no larger than the batch there is nothing
            to choose: nothing is scored, and every weight is 1.

        Raises:
            ValueError: `batch_size` is below 1, or a part returns what breaks its contract.

        Warns:
            RuntimeWarning: once, when a score is not finite: that draw is uniform; once, when a score or a loss is negative.
        """
        drawn = self._drawn(pool, whole_number("batch_size", batch_size, least=1), 1)
        self.steps_done += 1
        return drawn.next()

    def _drawn(self, pool, batch_size, batches):
        """Draws as many batches of one pool as are wanted, fewer where that would be much of it: `Drawn`."""
        size = len(pool.indices)
        b = min(batch_size, size)
        self._learning.learn()
        scores = smoothed = None
        if self._has_a_say and (b < size or not self._fixed):
            scores = np.asarray(self.importance.score(pool), np.float64)  # (B,)
            if scores.shape != (size,):
                raise ValueError(f"`importance.score` must return shape ({size},). Received: {scores.shape}")
            smoothed = probabilities(self.smoothing, self._not_negative(scores), self._warn)
        measured = self._has_a_say or self.importance.watches(1)
        if not self._fixed:
            b = self._batch_size(batch_size, size, smoothed)
        if scores is None:
            scores = np.full(size, np.nan)
        if b == size:
            chosen, expected, weights = np.arange(size), np.ones(size), np.ones(size, np.float32)
        elif smoothed is None:
            chosen = self.rng.choice(size, b, replace=False, shuffle=False)
            expected, weights = np.full(size, b / size), np.ones(b, np.float32)
        else:
            batches = max(1, min(batches, size // (_AT_ONCE * b))) if self.drawing.divisible else 1
            chosen, expected = self.drawing.draw(smoothed, batches * b, self.rng)  # (m b,), (B,)
            check_drawn(self.drawing, chosen, expected, batches * b, size)
            weights = np.asarray(self.reweighting.weights(expected, chosen, self.k), np.float32)
            check_weights(self.reweighting, weights, batches * b)
            if batches > 1:
                turns = self.rng.permutation(batches)  # else the first would have the lowest positions
                chosen, weights, expected = dealt(chosen, batches)[turns], dealt(weights, batches)[turns], expected / batches
        return Drawn(
            pool, scores, smoothed, expected, chosen.reshape(-1, b), weights.reshape(-1, b), measured, min(batch_size, size)
        )

    def update(self, draw, losses, gnorms=None):
        """Learns from the losses of a draw, measured while the model trained on it.

        Where batches wait that were drawn from the same pool, this is kept until the last of them.

        Args:
            draw (Draw): what `draw` returned.
            losses: `(b,)` floats, the losses of its samples, before weighting by alpha.
            gnorms: `(b,)` floats, their gradient-norm bounds. An importance of `"gnorm"` needs them; where they are given,
                `variance_ratio` goes by them.

        Raises:
            ValueError: the values needed are missing or have another shape.

        Warns:
            RuntimeWarning: once, when a score or a loss is negative.
        """
        quantity = self.importance.quantity
        if quantity is None or not draw.measured:
            return
        values = {"loss": losses, "gnorm": gnorms, "full_gnorm": draw.scores}[quantity]
        if losses is None:
            raise ValueError("`losses` must be given. Received: losses=None")
        if values is None:
            rule = "`gnorms` must be given for an importance of gradient norms; HistoryImportance(quantity='loss') goes by losses"
            raise ValueError(f"{rule}. Received: gnorms=None, importance={type(self.importance).__name__}")
        values = self._measured_of(draw, "gnorms" if quantity == "gnorm" else "losses", values)
        self._not_negative(values)  # warns; what is learnt is as it was
        self._learning.take(draw, values, values if gnorms is None else self._measured_of(draw, "gnorms", gnorms))
        if not self._has_waiting():
            self._learning.learn()

    @property
    def variance_ratio(self):
        """The variance ratio of the last 100 steps or so, see `variance_ratio`: below 1 where the importance pays. A float, None
        before 100 steps in which there was a choice. Where no gradient-norm bounds are measured, losses stand for them. Batches
        count once all that were drawn from their pool, up to eight, are done."""
        ratios = self._learning.moments.ratios
        return None if ratios is None else float(ratios[0])

    def sizes(self, batch_size):
        """The batch sizes that steps may have, a tuple; None where they may be any."""
        found = self.batch_size_rule.sizes(batch_size)
        return found and tuple(sorted({b + -b % self.replicas for b in found}))

    def prepare(self, pool_size, batch_size):
        """Told before the first step how many candidates and samples there will be at a time, at most."""
        self.importance.prepare(pool_size, max(self.batch_size_rule.sizes(batch_size) or (batch_size,)))

    def begin_epoch(self, to_the_end):
        """Told before the first draw of an epoch, and whether that ends where the data end. There is nothing to do."""

    def coming(self):
        """The draw that comes next, where it is known already; else None."""

    def pass_over(self):
        """Leaves out what the next draw would read, where data come one after another: for a state of a later moment."""

    def close(self):
        """Told after the last step: learns what is to be learnt, and lets go of what is held for reading."""
        self._learning.learn()

    def get_state(self) -> State:
        """Everything that the next choice among the same candidates depends on, apart from the arguments."""
        learning = self._learning.get_state(self._row_of)  # first: it may learn
        states = {name: part.get_state() for name, part in self._parts().items()}
        own = {"rng": self.rng.bit_generator.state, "kind": kind_of(self.importance), "steps": self.steps_done}
        return {**own, "learning": learning, **states}

    def set_state(self, state):
        """Goes on where `get_state` was called, in an object made with the same arguments.

        Raises:
            ValueError: the state is of another importance.
        """
        self._learning.forget()
        check_kind(state, self.importance)
        try:
            for name, part in self._parts().items():
                part.set_state(state[name])
            self.steps_done = int(state["steps"])
        except KeyError as error:
            raise ValueError(f"`state` must be of an object made with the same arguments. Received: one without {error}") from None
        self.rng.bit_generator.state = state["rng"]

    def _parts(self):
        names = ("importance", "smoothing", "drawing", "reweighting", "batch_size_rule", "map_seeds")
        return {**{name: getattr(self, name) for name in names}, "variance_ratio": self._learning.moments}

    @property
    def _has_a_say(self):
        """Whether the importance chooses, now."""
        return self.importance.quantity is not None and self.importance.chooses

    def _row_of(self, draw):
        """The number of a draw among those of the pool from which batches wait; None of one that is not."""
        return None

    def _has_waiting(self):
        """Whether batches wait that were drawn from the same pool as the last."""
        return False

    def _batch_size(self, batch_size, pool_size, smoothed):
        """What the rule says, rounded up so that the replicas can share it. What is drawn uniformly has no variance ratio."""
        ratio = None if smoothed is None else self.variance_ratio
        info = StepInfo(self.steps_done, min(batch_size, pool_size), pool_size, smoothed, ratio)
        b = checked(self.batch_size_rule, self.batch_size_rule.batch_size(info), info.pool_size)
        return min(b + -b % self.replicas, info.pool_size - info.pool_size % self.replicas)

    @staticmethod
    def _measured_of(draw, name, values):
        """A copy of what was measured of a draw, `(b,)` float64: it is learnt later, and the user may change his."""
        values = np.array(values, np.float64)
        if values.shape != draw.indices.shape:
            raise ValueError(f"`{name}` must have shape ({len(draw)},). Received: {name}.shape={values.shape}")
        return values

    def _not_negative(self, values):
        if not values.min() >= 0 and np.any(values < 0):  # it may be NaN
            quantity = self.importance.quantity
            self._warn("negative", f"A negative {quantity} is treated as 0. Received: {quantity}={np.nanmin(values)}")
        return np.maximum(values, 0)

    def _warn(self, kind, text):
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(text, RuntimeWarning, stacklevel=2)
