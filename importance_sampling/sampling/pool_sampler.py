"""Choosing among given candidates: score, smooth, draw, weigh; then learn from the losses of what was chosen.

It joins importance, smoothing, drawing and weighing, and owns the random generator. Where candidates come from is not its
business: `ImportanceSampler` takes them from a data set, the `ImportanceSampling` callback from each batch of `fit`.
"""

import math
import warnings

import numpy as np

from importance_sampling import importance as importances
from importance_sampling.sampling import reweighting as weighing
from importance_sampling.sampling import smoothing as smoothings
from importance_sampling.sampling.drawing import DRAWS
from importance_sampling.types import Draw, State

_UNIFORM = "Importance scores must be finite; this draw, and any like it, is uniform."


class Chooser:
    """Chooses b of B candidates by importance, and weighs them. See `ImportanceSampler` for the arguments."""

    def __init__(self, importance, k=0.5, smoothing="adaptive", draws="multinomial", reweighting="rescaled", seed=None):
        self.importance = importances.resolve(importance)
        self.smoothing = smoothings.resolve(smoothing)
        check_settings(k, draws, reweighting)
        self.k = k
        self.rng = np.random.default_rng(seed)
        self._draw_positions = DRAWS[draws]
        self._reweighting = reweighting
        self._warned = set()  # kinds

    def build(self, size, classes):
        """Readies the importance for N samples of some classes, either of which may be None where it is not needed.

        Raises:
            ValueError: the importance needs classes, and there are none.
        """
        if classes == 0 and self.importance.needs_labels:
            raise ValueError(
                "`importance` must do without classes on data that have none: 'oracle' and 'approx' do. "
                f"Received: {type(self.importance).__name__}"
            )
        self.classes = classes
        self.labelled = self.importance.uses_labels and classes != 0
        self.importance.build(size, classes, seed=int(self.rng.integers(2**31)))

    def choose(self, pool, batch_size):
        """Chooses the samples of one step.

        Args:
            pool: a `Pool` of B candidates.
            batch_size: b >= 1.

        Returns:
            A `Draw` of b samples, or of all B where that is fewer. Where the pool is no larger than the batch there is nothing
            to choose: nothing is scored, and every weight is 1.

        Raises:
            ValueError: `batch_size` is below 1.

        Warns:
            RuntimeWarning: once, when a score is not finite: that draw is uniform; once, when a score or a loss is negative.
        """
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be >= 1. Received: batch_size={batch_size}")
        size = len(pool)
        if size <= batch_size:
            chosen, p, weights = np.arange(size), np.full(size, 1 / size), np.ones(size, np.float32)
            scores = np.full(size, np.nan)
        elif self.importance.of is None:
            chosen = self.rng.choice(size, batch_size, replace=False, shuffle=False)
            p, weights = np.full(size, 1 / size), np.ones(batch_size, np.float32)
            scores = np.full(size, np.nan)
        else:
            scores = np.asarray(self.importance.score(pool), np.float64)  # (B,)
            if scores.shape != (size,):
                raise ValueError(f"`importance.score` must return shape ({size},). Received: {scores.shape}")
            p = self._probabilities(scores)
            chosen = self._draw_positions(p, batch_size, self.rng)  # (b,)
            weights = weighing.sample_weights(self._reweighting, p, chosen, self.k)
        labels = None if pool.labels is None else pool.labels[chosen]
        read = lambda: pool.read(chosen)  # noqa: E731
        return Draw(pool.indices[chosen], labels, p[chosen], weights, scores[chosen], size, read, pool.indices, scores)

    def update(self, draw, losses, gnorms=None):
        """Learns from the losses of a draw, measured while the model trained on it.

        Args:
            draw: what `draw` returned.
            losses: `(b,)` the losses of its samples, before weighting by alpha.
            gnorms: `(b,)` their gradient-norm bounds; for an importance of `"gnorm"` only.

        Raises:
            ValueError: the values needed are missing or have another shape.

        Warns:
            RuntimeWarning: once, when a score or a loss is negative.
        """
        of = self.importance.of
        if of is None:
            return
        values = {"loss": losses, "gnorm": gnorms, "full_gnorm": draw.scores}[of]
        if values is None:
            raise ValueError("`gnorms` must be given, the importance is of 'gnorm'. Received: gnorms=None")
        values = np.asarray(values, np.float64)
        if values.shape != (len(draw),):
            name = "gnorms" if of == "gnorm" else "losses"
            raise ValueError(f"`{name}` must have shape ({len(draw)},). Received: {name}.shape={values.shape}")
        self._warn_if_negative(values)
        self.smoothing.observe(_mean_over_data(draw, values))
        self.importance.update(draw.indices, draw.labels, values)

    def begin_epoch(self, to_the_end):
        """Told before the first draw of an epoch, and whether that ends where the data end. There is nothing to do."""

    def close(self):
        """Lets go of what is held for reading, after the last step. There is nothing here."""

    def get_state(self) -> State:
        """Everything that the next choice among the same candidates depends on, apart from the arguments."""
        return {
            "rng": self.rng.bit_generator.state,
            "kind": type(self.importance).__name__,
            "importance": self.importance.get_state(),
            "smoothing": self.smoothing.get_state(),
        }

    def set_state(self, state):
        """Goes on where `get_state` was called, in an object made with the same arguments.

        Raises:
            ValueError: the state is of another importance.
        """
        if state["kind"] != type(self.importance).__name__:
            raise ValueError(f"`state` must be of a {type(self.importance).__name__}. Received: of a {state['kind']}")
        try:
            self.importance.set_state(state["importance"])
            self.smoothing.set_state(state["smoothing"])
        except KeyError as error:
            raise ValueError(f"`state` must be of an object made with the same arguments. Received: one without {error}") from None
        self.rng.bit_generator.state = state["rng"]

    def _probabilities(self, scores):
        """Smoothed scores over their sum, `(B,)`; uniform where that says nothing."""
        uniform = np.full(len(scores), 1 / len(scores))
        bad = scores[~np.isfinite(scores)]
        if len(bad):
            self._warn("scores", f"{_UNIFORM} Received: {bad[0]} among {len(scores)} scores")
            return uniform
        self._warn_if_negative(scores)
        smoothed = self.smoothing(np.maximum(scores, 0))
        largest = smoothed.max()
        if not math.isfinite(largest):
            self._warn("smoothing", f"{_UNIFORM} Received: {largest} after smoothing by {self.smoothing}")
            return uniform
        if largest <= 0:  # every sample is handled
            return uniform
        smoothed = smoothed / largest  # their sum cannot overflow
        return smoothed / smoothed.sum()

    def _warn_if_negative(self, values):
        of = self.importance.of
        if np.any(values < 0):
            self._warn("negative", f"Importances count from 0, so a negative {of} counts as none. Received: {of}={values.min()}")

    def _warn(self, kind, text):
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(text, RuntimeWarning, stacklevel=2)


def check_settings(k, draws, reweighting):
    """Refuses settings that no data could make right.

    Raises:
        ValueError: naming the argument, the rule and the value.
    """
    weighing.check(k, reweighting)
    if draws not in DRAWS:
        raise ValueError(f"`draws` must be one of {', '.join(DRAWS)}. Received: draws={draws!r}")


def _mean_over_data(draw, values):
    """The unbiased estimate of the mean over the data set from samples drawn with p: `mean(l_i / (B p_i))`."""
    finite = np.isfinite(values)
    if not finite.any():
        return math.nan
    return float(np.mean(values[finite] / (draw.presample * draw.probabilities[finite])))
