"""How samples are chosen: one record of parts, made and checked once."""

import copy
import dataclasses

from importance_sampling.arguments import whole_number
from importance_sampling.importance.base import IMPORTANCES, Importance
from importance_sampling.model.scorer import SCORES
from importance_sampling.registry import described
from importance_sampling.sampling.batch_size import BATCH_SIZE_RULES, BatchSizeRule, Fixed
from importance_sampling.sampling.drawing import DRAWINGS, Drawing
from importance_sampling.sampling.pools import POOLS, Pools
from importance_sampling.sampling.reweighting import REWEIGHTINGS, Reweighting, check_k
from importance_sampling.sampling.smoothing import SMOOTHINGS, Smoothing

_USUAL = {"k": 0.5, "smoothing": "adaptive", "batch_size_rule": "fixed"}


@dataclasses.dataclass(frozen=True, eq=False)
class Settings:
    """The parts of a sampler, and two numbers. Every sampler works with copies of them.

    Attributes:
        presample: B, or None.
        pools: None takes permutations for uniform importance, else random pools.
    """

    importance: Importance
    k: float
    smoothing: Smoothing
    presample: int | None
    draws: Drawing
    pools: Pools | None
    reweighting: Reweighting
    batch_size_rule: BatchSizeRule

    @classmethod
    def of(
        cls,
        importance,
        k=None,
        smoothing=None,
        presample=None,
        draws="systematic",
        pools=None,
        reweighting="rescaled",
        batch_size_rule=None,
    ):
        """The settings that a user gives, see `ImportanceSampler`; None is what goes with the importance.

        Raises:
            ValueError: one of them breaks a rule; names the argument, the rule and the value.
        """
        importance = IMPORTANCES.make(importance)
        if importance.quantity not in (None, *SCORES):
            rule = f"`importance.quantity` must be None or one of {', '.join(SCORES)}"
            raise ValueError(f"{rule}. Received: quantity={importance.quantity!r}")
        usual = {**_USUAL, **importance.defaults}
        rule = BATCH_SIZE_RULES.make(usual["batch_size_rule"] if batch_size_rule is None else batch_size_rule)
        usual = {**_USUAL, **rule.defaults, **importance.defaults}
        k, smoothing = (usual[name] if given is None else given for name, given in (("k", k), ("smoothing", smoothing)))
        check_k(k)
        return cls(
            importance,
            k,
            SMOOTHINGS.make(smoothing),
            whole_number("presample", presample, least=1, or_none=True),
            DRAWINGS.make(draws),
            None if pools is None else POOLS.make(pools),
            REWEIGHTINGS.make(reweighting),
            rule,
        )

    def bound(self, model):
        """The settings for a model; what its importance compiles for it serves every sampler.

        Raises:
            ValueError: the importance needs a model, and there is none.
        """
        importance = copy.copy(self.importance)
        importance.bind(model)
        return dataclasses.replace(self, importance=importance)

    def in_order(self, shuffle):
        """The settings with pools in the order of the data, unless they are shuffled.

        Raises:
            ValueError: other pools are wanted.
        """
        if shuffle:
            return self
        ordered = POOLS.make("sequential")
        if self.pools is not None and vars(self.pools) != vars(ordered):
            raise ValueError(
                f"`shuffle` must be True where `pools` is given. Received: shuffle=False, pools={described(self.pools)}"
            )
        return dataclasses.replace(self, pools=ordered)

    def pool_size(self, batch_size, held=False):
        """B: what is given, or else as many batches as the importance wants; 1,024, and at least three batches, where that is None.

        Args:
            batch_size (int): b.
            held (bool): whether the candidates must be held in memory to choose from them: then no more than is usual.
        """
        if self.presample is not None:
            return self.presample
        usual, wish = max(1024, 3 * batch_size), self.importance.pool_batches
        if wish is None:
            return usual
        return min(wish * batch_size, usual) if held else wish * batch_size

    @property
    def uses_gnorms(self):
        """Whether steps have to tell the gradient-norm bounds."""
        return self.importance.quantity == "gnorm" or self.batch_size_rule.uses_gnorms or self.smoothing.uses_gnorms

    @property
    def weighs(self):
        """Whether steps may have weights: by importance, or, where the loss is a sum, of batches of another size."""
        return self.importance.quantity is not None or not isinstance(self.batch_size_rule, Fixed)

    def check_presample(self, batch_size):
        """Refuses a batch that cannot be chosen from the presample.

        Raises:
            ValueError: the presample is below the batch size.
        """
        if self.importance.quantity is not None and self.presample is not None and batch_size > self.presample:
            rule = f"`presample` must be >= batch_size, {batch_size}: the batch is chosen from it"
            raise ValueError(f"{rule}. Received: presample={self.presample}")
