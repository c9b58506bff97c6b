"""How many samples a step takes: the batch-size rule, which stands between the scores and the draw.

An epoch keeps its number of updates, so schedules of the learning rate and callbacks see what they saw before.
"""

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from importance_sampling.arguments import numbers_of, whole_number
from importance_sampling.registry import OfFunction, Part, Registry, described

_WORSE = 1.01  # the ratio of a gradient that is noisier; one nearer to 1 may be all that is left of a few steps long ago
_PATIENCE = 200  # steps with such a ratio, of which a few samples with a large gradient are reason enough, before it is said


@dataclass(frozen=True, eq=False)
class StepInfo:
    """What a batch-size rule may go by.

    Attributes:
        step (int): how many draws there were before this one.
        batch_size (int): b that `fit` was given, or the size of the pool where that is smaller.
        pool_size (int): B.
        scores: `(B,)` float64, the smoothed scores of the candidates with a sum of 1, or None where nothing was scored.
        variance_ratio (float or None): the second moment of the gradient by importance over that by uniform sampling, see
            `variance_ratio`, of some 100 steps before; None as long as it was measured in fewer than 100.
    """

    step: int
    batch_size: int
    pool_size: int
    scores: np.ndarray | None
    variance_ratio: float | None = None


class BatchSizeRule(Part, ABC):
    """A batch-size rule. A class of one's own must have `batch_size`.

    Attributes:
        uses_gnorms (bool, default False): whether the variance ratio is to be that of gradient-norm bounds, whatever the importance
            goes by.
        defaults (dict): what goes with it where the user gives no `k`, as in `Importance`.
    """

    uses_gnorms = False
    defaults = {}

    def sizes(self, batch_size):
        """All that `batch_size` may return where `fit` was given that batch size, a tuple; None, the default, where it may be any.

        Under XLA the training step is compiled for each size when it first occurs.
        """
        return None

    @abstractmethod
    def batch_size(self, info):
        """How many samples this step takes.

        Args:
            info (StepInfo): what is known before the draw.

        Returns:
            A whole number in [1, B]. It is rounded up to a multiple of the replicas.
        """


class Fixed(BatchSizeRule):
    """The batch size that `fit` was given."""

    def sizes(self, batch_size):
        return (batch_size,)

    def batch_size(self, info):
        return info.batch_size


class Warmup(BatchSizeRule):
    """Begins with small batches, and doubles them until, after some steps, they have the size that `fit` was given.

    With b = 128, `Warmup(300)` takes 100 steps each of 16, 32 and 64, then 128.

    Args:
        steps (int): how many steps have smaller batches, >= 0.
        doublings (int, default 3): how often the size doubles, >= 1.

    Raises:
        ValueError: `steps` is below 0 or `doublings` below 1.

    Example:
        >>> rule = Warmup(300)
        >>> [rule.batch_size(StepInfo(step, 128, 1024, None)) for step in (0, 100, 200, 300)]
        [16, 32, 64, 128]
    """

    def __init__(self, steps, doublings=3):
        self.steps = whole_number("steps", steps, least=0)
        self.doublings = whole_number("doublings", doublings, least=1)

    def sizes(self, batch_size):
        return tuple(sorted({self._size(batch_size, left) for left in range(self.doublings + 1)}))

    def batch_size(self, info):
        done = self.doublings if info.step >= self.steps else info.step * self.doublings // self.steps
        return self._size(info.batch_size, self.doublings - done)

    @staticmethod
    def _size(batch_size, left):
        return -(-batch_size // 2**left)


class EqualVariance(BatchSizeRule):
    """As many samples as give the gradient the variance that a uniform batch of the given size has: `b` times the variance ratio.

    The batch gets smaller as the importance gets better; learning rate and number of updates stay. The size is rounded up to
    one of a few fractions of `b`, each of which is compiled once. Before the ratio is known, and where it is above 1, the batch is
    whole.

    The ratio is that of unbiased weights, and k is 1 where none is given. With k < 1 the batch is of the same size, while hard
    samples keep more of their weight: the gradient leans towards them and is noisier than that of the uniform batch. It is noisier,
    too, with `draws="multinomial"` out of a pool of few batches, since the pool itself varies.

    Args:
        fractions (tuple of floats, default the sixteenths from 4 to 15): in (0, 1), the sizes that a smaller batch may have, of
            b; the smallest is the least.

    Raises:
        ValueError: there are no fractions, or one is outside (0, 1).

    Warns:
        RuntimeWarning: once, where the ratio is above 1.01 for 200 steps in a row: the importance does not pay.

    Example:
        >>> rule = EqualVariance()
        >>> [rule.batch_size(StepInfo(500, 128, 1024, None, ratio)) for ratio in (None, 0.9, 0.4, 0.1)]
        [128, 120, 56, 32]
    """

    uses_gnorms = True
    defaults = {"k": 1.0}

    def __init__(self, fractions=tuple(i / 16 for i in range(4, 16))):
        self.fractions = tuple(sorted(numbers_of("fractions", fractions, "in (0, 1)", lambda fraction: 0 < fraction < 1)))
        self._above = 0  # steps in a row with a ratio above that of `_WORSE`

    def sizes(self, batch_size):
        return tuple(sorted({*(math.ceil(fraction * batch_size) for fraction in self.fractions), batch_size}))

    def batch_size(self, info):
        ratio = info.variance_ratio
        if ratio is None:
            return info.batch_size
        if self._above < _PATIENCE:
            self._above = self._above + 1 if ratio > _WORSE else 0
        if self._above == _PATIENCE:
            self._above += 1  # said
            warnings.warn(
                "The importance does not pay here: it makes the gradient noisier than uniform sampling does. The batch stays "
                f"whole. Received: a variance ratio of {ratio:.3g} at step {info.step}",
                RuntimeWarning,
                stacklevel=2,
            )
        return next(size for size in self.sizes(info.batch_size) if size >= min(ratio, 1) * info.batch_size)


class FunctionRule(OfFunction, BatchSizeRule):
    """A function of a `StepInfo` that returns a batch size."""

    def batch_size(self, info):
        return self._function(info)


def checked(rule, found, pool_size):
    """A batch size that a rule returned.

    Raises:
        ValueError: it is no whole number in [1, B].
    """
    if not (isinstance(found, (int, np.integer)) and 1 <= found <= pool_size):
        rule_text = f"`batch_size_rule` must return a whole number in [1, {pool_size}]"
        raise ValueError(f"{rule_text}. Received: {found!r} from {described(rule)}")
    return int(found)


BATCH_SIZE_RULES = Registry("batch_size_rule", BatchSizeRule, FunctionRule, "of a StepInfo that returns a whole number")
BATCH_SIZE_RULES.register("fixed", Fixed)
BATCH_SIZE_RULES.register("equal-variance", EqualVariance)
