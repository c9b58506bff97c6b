"""Seeds for what is random in reading samples, apart from those of draws: the order in which batches are read does not matter."""

import numpy as np

from importance_sampling.types import State

_APART = 0x6D6170  # a key of its own


class MapSeeds:
    """Generators by the number of a step, for the `map` of the user.

    Args:
        rng: the generator of a sampler, of which nothing is drawn; only its seed is looked at.

    Example:
        >>> seeds = MapSeeds(np.random.default_rng(0))
        >>> seeds.rng(7).integers(100) == seeds.rng(7).integers(100)
        np.True_
    """

    def __init__(self, rng):
        seed = rng.bit_generator.seed_seq
        own = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, _APART))
        self._seed = int(own.generate_state(1, np.uint64)[0])

    def rng(self, step):
        """The generator of a step, by the number of draws up to it."""
        return np.random.default_rng((self._seed, step))

    def get_state(self) -> State:
        return {"seed": self._seed}

    def set_state(self, state):
        self._seed = int(state["seed"])
