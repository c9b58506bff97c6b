"""The two functions by which a user takes part in a step."""

import numpy as np

from importance_sampling.data.mapping import SampleMap, check_signature


class Hooks:
    """The user's two functions, checked.

    Args:
        map: None or a function for every chosen sample, see `SampleMap`.
        on_step: None or a function that is called after each step with its `Draw` and the losses of its samples.

    Raises:
        TypeError: one is no function, or takes other arguments.
    """

    def __init__(self, map=None, on_step=None):
        self.map = None if map is None else SampleMap(map)
        if on_step is not None and not callable(on_step):
            raise TypeError(f"`on_step` must be a function of (draw, losses). Received: on_step={on_step!r}")
        if on_step is not None:
            check_signature("on_step", on_step, "(draw, losses)", "draw", "losses")
        self.on_step = on_step

    def looked_at(self, batch):
        """A batch as the model will see it, looked at before the first step."""
        return batch if self.map is None else self.map(batch, np.random.default_rng(0))
