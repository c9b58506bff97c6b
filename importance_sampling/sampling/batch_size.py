"""How many samples a step takes: the batch-size rule, which stands between the scores and the draw.

An epoch keeps its number of updates, so schedules of the learning rate and callbacks see what they saw before.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from importance_sampling.registry import OfFunction, Part, Registry, described


@dataclass(frozen=True, eq=False)
class StepInfo:
    """What a batch-size rule may go by.

    Attributes:
        step (int): how many draws there were before this one.
        batch_size (int): b that `fit` was given, or the size of the pool where that is smaller.
        pool_size (int): B.
        scores: `(B,)` float64, the smoothed scores of the candidates with a sum of 1, or None where nothing was scored.
    """

    step: int
    batch_size: int
    pool_size: int
    scores: np.ndarray | None


class BatchSizeRule(Part, ABC):
    """A batch-size rule. A class of one's own must have `batch_size`."""

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
        if not (isinstance(steps, (int, np.integer)) and steps >= 0):
            raise ValueError(f"`steps` must be a whole number >= 0. Received: steps={steps!r}")
        if not (isinstance(doublings, (int, np.integer)) and doublings >= 1):
            raise ValueError(f"`doublings` must be a whole number >= 1. Received: doublings={doublings!r}")
        self.steps, self.doublings = steps, doublings

    def sizes(self, batch_size):
        return tuple(sorted({self._size(batch_size, left) for left in range(self.doublings + 1)}))

    def batch_size(self, info):
        done = self.doublings if info.step >= self.steps else info.step * self.doublings // self.steps
        return self._size(info.batch_size, self.doublings - done)

    @staticmethod
    def _size(batch_size, left):
        return -(-batch_size // 2**left)


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
