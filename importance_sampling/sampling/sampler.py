"""The sampler: finds candidates in a data set and chooses among them, for the engine as for a user's own loop."""

import copy

import numpy as np

from importance_sampling.arguments import whole_number
from importance_sampling.copying import deep_copied
from importance_sampling.data.own_source import checked_source
from importance_sampling.data.reading import CachedReader
from importance_sampling.data.state_file import Saved
from importance_sampling.registry import described
from importance_sampling.sampling.batch_size import EqualVariance, Fixed
from importance_sampling.sampling.drawn import Drawn, in_order
from importance_sampling.sampling.pool_sampler import PoolSampler
from importance_sampling.sampling.pools import POOLS, OrderedPools, RandomPools
from importance_sampling.sampling.sample_labels import fingerprint, sample_labels
from importance_sampling.sampling.settings import Settings
from importance_sampling.types import Pool, State


class ImportanceSampler(Saved, PoolSampler):
    """Draws the samples of a training step by importance, and weighs them (Algorithm 1).

    The parts (importance, smoothing, drawing rule, pools, reweighting, batch-size rule) may be given by name, as a class, an object
    or a function; see `register`.

    Args:
        source (ArraySource): the data; or any object with `__len__`, `__getitem__` for an array of indices and `targets`. Inputs
            are read only by an importance that needs them (`Oracle`).
        importance (default "approx"): `"approx"`, `"history"`, `"auto"`, `"pcg"`, `"uniform"`, or another importance, such as
            `Oracle(model)`.
        k (float, default None): number <= 1. 1 gives unbiased gradients; smaller moves towards the maximum loss (eq. 12 to 16).
            None is 0.5, and 1 for "auto" and for batches of equal variance.
        smoothing (default None): `"adaptive"` (half the mean training loss), `"measured"`, a constant >= 0, or `additive`,
            `adaptive`, `power`. None is "adaptive"; "auto" has its own.
        presample (int, default None): B, the candidates of each draw, out of which the batch is chosen; above N it means the whole
            data set. None is 64 batches for "approx", "history" and "pcg", three for an `Oracle`, and 1,024, or three batches where
            these are more, for others.
        draws (default "systematic"): the drawing rule: `"systematic"`, the counts nearest to the expected ones, twice only where
            that is expected; `"multinomial"`, the paper's, of more variance; `"without_replacement"`, each candidate at most once.
        pools (default None): `"random"`, `"permutation"` (walk random permutations: each sample is a candidate equally often),
            `"sequential"` (in the order of the data), or None: permutations for uniform importance, else random.
        reweighting (default "rescaled"): `"rescaled"` keeps the scale of the loss for every k; `"literal"` is the paper's
            `1 / (B p^k)`.
        seed (int, numpy.random.SeedSequence or None, default None): the same seed gives the same draws, bit for bit.
        classes (int, default None): number of classes, for an importance that tells them apart. None finds it in the targets, which
            need not be classes for `"approx"`; 0 means that they are none.
        batch_size_rule (default None): how many samples each step takes: `"fixed"`, `"equal-variance"`, `Warmup(steps)`, or a
            function of a `StepInfo`. None is "fixed", and "equal-variance" for "auto".

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
        k=None,
        smoothing=None,
        presample=None,
        draws="systematic",
        pools=None,
        reweighting="rescaled",
        seed=None,
        classes=None,
        batch_size_rule=None,
    ):
        settings = Settings.of(importance, k, smoothing, presample, draws, pools, reweighting, batch_size_rule)
        classes = whole_number("classes", classes, least=0, or_none=True)
        self._begin(checked_source(source), settings.bound(None), seed, classes)

    @classmethod
    def of(cls, source, settings, seed, classes=None, replicas=1):
        """By `Settings` that are bound to a model."""
        sampler = cls.__new__(cls)
        sampler._begin(source, settings, seed, classes, replicas)
        return sampler

    def _begin(self, source, settings, seed, classes, replicas=1):
        super().__init__(settings, seed, replicas)
        self._chooses = settings.importance.quantity is not None
        self._pools = copy.copy(settings.pools) or POOLS.make("random" if self._chooses else "permutation")
        self._pools.build(len(source))
        self._walk = OrderedPools(getattr(self._pools, "shuffled", True))  # where the importance has no say
        self._walk.build(len(source))
        self._size, self._checked, self._waiting, self._labels = len(source), None, None, None
        self.build(len(source), self.read_from(source, classes))

    def __deepcopy__(self, memo):
        """What was learnt is copied, the data are shared."""
        return deep_copied(self, memo, shared=("source", "_labels"))

    def read_from(self, source, classes=None):
        """Draws from the same samples as before, whose targets may have changed. Returns the number of classes.

        Raises:
            ValueError: the labels do not fit the importance.
        """
        labels = None
        if self.importance.uses_labels and (classes != 0 or self.importance.needs_labels):
            labels, classes = sample_labels(source.targets, classes, self.importance)
        if labels is not None and self._labels is not None and not np.array_equal(labels, self._labels):
            self._learning.learn()
            self._waiting = None  # of the former labels
            self.importance.relabel(labels)
        self.source, self._labels, self._fingerprint = source, labels, None
        return classes

    def check_batch_size(self, batch_size):
        """Refuses a batch size that this sampler cannot draw.

        Raises:
            ValueError: it is above the number of samples, or above the presample.
        """
        if batch_size > len(self.source):
            raise ValueError(f"`batch_size` must be at most the number of samples, {self._size}. Received: batch_size={batch_size}")
        self.settings.check_presample(batch_size)
        if self._checked not in (None, batch_size):
            self._waiting = None
        self._checked, self._pool_size = batch_size, self.pool_size(batch_size)

    def batch_size_of(self, given):
        """The batch size that is meant, as in `model.fit`: 32 where none is given, and all samples where there are fewer."""
        return min(given or 32, len(self.source))

    def pool_size(self, batch_size):
        """B; with nothing to choose, that of the batch."""
        return min(self.settings.pool_size(batch_size), self._size) if self._chooses else batch_size

    def steps(self, batch_size):
        """Updates in an epoch, as in `model.fit`."""
        return -(-len(self.source) // batch_size)

    def example(self, batch_size):
        """`batch_size` samples from across the data as they are, `(x, y, sample_weight)`; no draw is used up."""
        return self.source[np.linspace(0, len(self.source) - 1, batch_size).astype(np.int64)]

    def draw(self, batch_size):
        """Chooses the samples of one step.

        Args:
            batch_size: b, in [1, N], and not above the presample.

        Returns:
            A `Draw` of b samples. Where the pool is no larger than the batch there is nothing to choose: nothing is
            scored, and every weight is 1.

        Raises:
            ValueError: the batch size is no whole number, or outside of that.

        Warns:
            RuntimeWarning: once, when a score is not finite. That draw is uniform.
        """
        batch_size = whole_number("batch_size", batch_size, least=1)
        if batch_size != self._checked:
            self.check_batch_size(batch_size)
        if not (self._has_waiting() and self._is_wanted(self._waiting, batch_size)):
            self._waiting = self._next(batch_size)
        self.steps_done += 1
        return self._waiting.next()

    def coming(self):
        """The draw that comes next, where one waits that was drawn from the same pool as the last; else None."""
        return self._waiting.peek() if self._has_waiting() else None

    def _has_waiting(self):
        return self._waiting is not None and self._waiting.left > 0

    def _is_wanted(self, waiting, batch_size):
        """Whether batches that wait have the size that the rule wants now."""
        if self._fixed:
            return waiting.batch_size == batch_size
        size = self._pool_size if waiting.smoothed is None else len(waiting.pool)
        return waiting.batch_size == self._batch_size(batch_size, size, waiting.smoothed)

    def _next(self, batch_size):
        """Draws from the next pool, or, where the importance has no say, takes the next samples of a walk through the data."""
        self._learning.learn()
        walk = self._walk if self._chooses and type(self._pools) in (RandomPools, OrderedPools) else self._pools
        if self._has_a_say or not isinstance(walk, OrderedPools):
            return self._drawn(self._next_pool(), batch_size, self.importance.draws_ahead)
        b = batch_size if self._fixed else self._batch_size(batch_size, self._pool_size, None)
        ahead = self.importance.draws_ahead if type(self.batch_size_rule) in (Fixed, EqualVariance) else 1  # nothing is left out
        batches = max(1, min(ahead, self._size // b))
        measured = self.importance.watches(batches)
        return in_order(self._pool_of(walk.next(batches * b, self.rng)), batches, measured, min(batch_size, self._size))

    def _next_pool(self):
        size = self._pool_size
        indices = self._pools.next(size, self.rng)
        if len(indices) != size or indices.min() < 0 or indices.max() >= self._size:
            low, high = min(indices, default=None), max(indices, default=None)
            received = f"{len(indices)}, from {low} to {high}, by {described(self._pools)}"
            raise ValueError(f"`pools` must return {size} indices in [0, {self._size}). Received: {received}")
        return self._pool_of(indices)

    def _pool_of(self, indices):
        labels = None if self._labels is None else self._labels[indices].astype(np.int64)
        return Pool(indices, labels, CachedReader(self.source, indices))

    def get_state(self) -> State:
        """Everything that the next draw depends on, apart from the data and the arguments of the constructor."""
        state = {**super().get_state(), "size": len(self.source), "labels": self.fingerprint}
        return {**state, "waiting": self._waiting.get_state()} if self._has_waiting() else state

    def set_state(self, state):
        """Goes on where `get_state` was called, in a sampler made with the same arguments.

        Raises:
            ValueError: the state is of another number of samples, other labels, or another importance.
        """
        if state.get("size") != len(self.source):
            raise ValueError(f"`state` must be of {len(self.source)} samples, as the data. Received: of {state.get('size')}")
        if state["labels"] != self.fingerprint:
            raise ValueError("`state` must be of the same labels as the data. Received: one of others")
        super().set_state(state)
        self._waiting = None
        if "waiting" in state:
            self._waiting = Drawn.of_state(state["waiting"], self._pool_of)
            self._learning.set_state(state["learning"], self._waiting.draw_of)

    @property
    def fingerprint(self):
        """By what the data are known again; see `fingerprint`."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self._labels, self.source.targets)
        return self._fingerprint

    def _row_of(self, draw):
        return self._waiting.row_of(draw) if self._has_waiting() else None

    def _parts(self):
        return {**super()._parts(), "pools": self._pools, "walk": self._walk}
