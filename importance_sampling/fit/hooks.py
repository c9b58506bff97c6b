"""The two functions by which a user takes part in a step."""

from importance_sampling.data.mapping import SampleMap


class Hooks:
    """The user's two functions, checked.

    Args:
        map: None or a function for every chosen sample, see `SampleMap`.
        on_step: None or a function that is called after each step with its `Draw` and the losses of its samples.

    Raises:
        TypeError: one is no function.
    """

    def __init__(self, map=None, on_step=None):
        self.map = None if map is None else SampleMap(map)
        if on_step is not None and not callable(on_step):
            raise TypeError(f"`on_step` must be a function of (draw, losses). Received: on_step={on_step!r}")
        self.on_step = on_step
