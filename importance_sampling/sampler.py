"""The sampler: pool, score, smooth, draw, weigh; then learn from the losses of what was drawn.

It joins the parts and owns the random generator. It knows nothing of Keras's `fit`: the engine calls `draw` and `update`
just as a user's own loop does.
"""

import math
import warnings

import numpy as np

from importance_sampling import importance as importances
from importance_sampling import reweighting as weighing
from importance_sampling import smoothing as smoothings
from importance_sampling.drawing import DRAWS
from importance_sampling.pools import POOLS
from importance_sampling.sources import class_ids
from importance_sampling.types import Draw, Pool, State


class ImportanceSampler:
    """Draws the samples of a training step by importance, and weighs them (Algorithm 1).

    Args:
        source: the data: an `ArraySource`, or any object with `__len__`, `__getitem__` for an array of indices and
            `targets`. Inputs are read only by an importance that needs them (`Oracle`).
        importance: `"approx"`, `"pcg"`, `"uniform"`, or an importance object such as `Oracle(model)`.
        k: number <= 1. 1 gives unbiased gradients; smaller moves towards the maximum loss (eq. 12 to 16).
        smoothing: `"adaptive"` (half the mean training loss), a constant >= 0, or `additive`, `adaptive`, `power`.
        presample: B, the candidates of each draw, out of which the batch is chosen; above N it means the whole data set.
        draws: `"multinomial"`, as in the paper, or `"systematic"`: the same expected counts with less variance.
        pools: `"random"`, `"permutation"` (walk random permutations: each sample is a candidate equally often),
            `"sequential"` (in the order of the data), or None: permutations for uniform importance, else random.
        reweighting: `"rescaled"` keeps the scale of the loss for every k; `"literal"` is the paper's `1 / (B p^k)`.
        seed: int, `numpy.random.SeedSequence` or None. The same seed gives the same draws, bit for bit.

    Raises:
        ValueError: an argument breaks one of the rules above, or the labels do not fit the importance.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import ArraySource, ImportanceSampler
        >>> x, y = np.random.default_rng(0).normal(size=(100, 3)), np.arange(100) % 2
        >>> sampler = ImportanceSampler(ArraySource(x, y), importance="pcg", k=1.0, presample=50, seed=0)
        >>> draw = sampler.draw(10)
        >>> losses = 1.0 + y[draw.indices]  # what your model lost on x[draw.indices]
        >>> sampler.update(draw, losses)
        >>> later = sampler.draw(10)  # class 1 is now drawn more often, and weighs less
        >>> bool(later.weights[y[later.indices] == 1].max() < later.weights[y[later.indices] == 0].min())
        True

    References:
        arXiv:1706.00043, Algorithm 1.
    """

    def __init__(
        self,
        source,
        importance="approx",
        k=0.5,
        smoothing="adaptive",
        presample=1024,
        draws="multinomial",
        pools=None,
        reweighting="rescaled",
        seed=None,
    ):
        self.importance = importances.resolve(importance)
        self.smoothing = smoothings.resolve(smoothing)
        check_settings(k, presample, draws, pools, reweighting)
        self.k = k
        self.presample = presample
        self.source = source
        self._draw_positions = DRAWS[draws]
        self._reweighting = reweighting
        self._rng = np.random.default_rng(seed)
        self._pools = POOLS[pools or ("random" if self.importance.of else "permutation")](len(source))
        self._labels, classes = None, None
        if self.importance.uses_labels:
            self._labels, classes = class_ids(source.targets)
            classes = classes or int(self._labels.max()) + 1
        self.importance.build(len(source), classes, seed=int(self._rng.integers(2**31)))
        self._warned = False

    def check_batch_size(self, batch_size):
        """Refuses a batch size that this sampler cannot draw.

        Raises:
            ValueError: it is no whole number, below 1, above the number of samples, or above the presample.
        """
        if not (isinstance(batch_size, (int, np.integer)) and batch_size >= 1):
            raise ValueError(f"`batch_size` must be a whole number >= 1. Received: batch_size={batch_size}")
        if batch_size > len(self.source):
            raise ValueError(
                f"`batch_size` must be at most the number of samples, {len(self.source)}. Received: batch_size={batch_size}"
            )
        if self.importance.of and batch_size > self.presample:
            raise ValueError(
                f"`presample` must be >= batch_size, {batch_size}: the batch is chosen from it. "
                f"Received: presample={self.presample}"
            )

    def draw(self, batch_size):
        """Chooses the samples of one step.

        Args:
            batch_size: b, in [1, min(N, presample)].

        Returns:
            A `Draw` of b samples. Where the pool is no larger than the batch there is nothing to choose: nothing is
            scored, and every weight is 1.

        Raises:
            ValueError: see `check_batch_size`.

        Warns:
            RuntimeWarning: once, when a score is not finite. That draw is uniform.
        """
        self.check_batch_size(batch_size)
        return self.choose(
            self._pool(min(self.presample, len(self.source)) if self.importance.of else batch_size), batch_size
        )

    def choose(self, pool, batch_size):
        """Chooses the samples of one step from candidates that are given, where `draw` finds them by itself.

        Args:
            pool: a `Pool` of B candidates.
            batch_size: b, in [1, B].

        Returns:
            A `Draw`, as from `draw`.
        """
        size = len(pool)
        if size == batch_size:
            chosen, p, weights = np.arange(size), np.full(size, 1 / size), np.ones(size, np.float32)
            scores = np.ones(size)
        else:
            scores = np.asarray(self.importance.score(pool), np.float64)  # (B,)
            p = self._probabilities(scores)
            chosen = self._draw_positions(p, batch_size, self._rng)  # (b,)
            weights = weighing.sample_weights(self._reweighting, p, chosen, self.k)
        labels = None if pool.labels is None else pool.labels[chosen]
        read = lambda: pool.read(chosen)  # noqa: E731
        return Draw(pool.indices[chosen], labels, p[chosen], weights, scores[chosen], size, read)

    def update(self, draw, losses, gnorms=None):
        """Learns from the losses of a draw, measured while the model trained on it.

        Args:
            draw: what `draw` returned.
            losses: `(b,)` the losses of its samples, before weighting by alpha.
            gnorms: `(b,)` their gradient-norm bounds; for an importance of `"gnorm"` only.

        Raises:
            ValueError: the values needed are missing or have another shape.
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
        self.smoothing.observe(_mean_over_data(draw, values))
        self.importance.update(draw.indices, draw.labels, values)

    def get_state(self) -> State:
        """Everything that the next draw depends on, apart from the data and the arguments of the constructor."""
        return {
            "rng": self._rng.bit_generator.state,
            "pools": self._pools.get_state(),
            "importance": self.importance.get_state(),
            "smoothing": self.smoothing.get_state(),
        }

    def set_state(self, state):
        """Goes on where `get_state` was called, in a sampler made with the same arguments."""
        self._rng.bit_generator.state = state["rng"]
        self._pools.set_state(state["pools"])
        self.importance.set_state(state["importance"])
        self.smoothing.set_state(state["smoothing"])

    def _pool(self, size):
        indices = self._pools.next(size, self._rng)
        labels = None if self._labels is None else self._labels[indices]
        return Pool(indices, labels, read=lambda positions: self.source[indices[positions]])

    def _probabilities(self, scores):
        """Smoothed scores over their sum, `(B,)`; uniform where that says nothing."""
        uniform = np.full(len(scores), 1 / len(scores))
        bad = scores[~(np.isfinite(scores) & (scores >= 0))]
        if len(bad):
            self._warn(f"{bad[0]} among {len(scores)} scores")
            return uniform
        smoothed = self.smoothing(scores)
        largest = smoothed.max()
        if not math.isfinite(largest):
            self._warn(f"{largest} after smoothing by {self.smoothing}")
            return uniform
        if largest == 0:  # every sample is handled
            return uniform
        smoothed = smoothed / largest  # their sum cannot overflow
        return smoothed / smoothed.sum()

    def _warn(self, received):
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"Importance scores must be finite and >= 0; this draw, and any like it, is uniform. Received: {received}",
                RuntimeWarning,
                stacklevel=5,
            )


def check_settings(k, presample, draws, pools, reweighting):
    """Refuses settings of a sampler that no data could make right.

    Raises:
        ValueError: naming the argument, the rule and the value.
    """
    weighing.check(k, reweighting)
    if not (isinstance(presample, (int, np.integer)) and presample >= 1):
        raise ValueError(f"`presample` must be a whole number >= 1. Received: presample={presample}")
    if draws not in DRAWS:
        raise ValueError(f"`draws` must be one of {', '.join(DRAWS)}. Received: draws={draws!r}")
    if pools is not None and pools not in POOLS:
        raise ValueError(f"`pools` must be None or one of {', '.join(POOLS)}. Received: pools={pools!r}")


def _mean_over_data(draw, values):
    """The unbiased estimate of the mean over the data set from samples drawn with p: `mean(l_i / (B p_i))`."""
    finite = np.isfinite(values)
    if not finite.any():
        return math.nan
    return float(np.mean(values[finite] / (draw.presample * draw.probabilities[finite])))
