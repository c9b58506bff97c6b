"""What a fit may show of its draws: numbers beside the loss, in the progress bar, `History` and every callback that reads logs."""

import math

from importance_sampling.sampling.measures import effective_sample_size

NAMES = ("variance_ratio", "batch_size", "effective_sample_size", "samples", "uniform_samples")


class DrawLogs:
    """The numbers of one `fit`.

    `variance_ratio`, as far as it was learnt, NaN where it is not known; `batch_size` and `effective_sample_size` of the last step;
    `samples`, how many were trained on so far in this fit; `uniform_samples`, how many by uniform sampling in as many steps.
    """

    def __init__(self):
        self._samples = self._uniform_samples = 0
        self.last = {}  # the numbers of the last step

    def added_to(self, logs, draw, ratio):
        """The logs of a step with this draw, a dictionary, and these numbers; `ratio` is None where it is not known."""
        check_names(logs)
        self._samples += len(draw)
        self._uniform_samples += draw.uniform_size or len(draw)
        ratio = math.nan if ratio is None else ratio
        found = (ratio, len(draw), float(effective_sample_size(draw)), self._samples, self._uniform_samples)
        self.last = dict(zip(NAMES, found))
        return {**logs, **self.last}

    def get_state(self):
        return {"samples": self._samples, "uniform_samples": self._uniform_samples, "last": dict(self.last)}

    def set_state(self, state):
        self._samples, self._uniform_samples = int(state["samples"]), int(state["uniform_samples"])
        self.last = dict(state.get("last", {}))  # a backup that was made before these were kept has none


def check_metrics(model):
    """Refuses metrics whose names these numbers have, as far as they are built.

    Raises:
        ValueError: there is one.
    """
    try:
        names = model.get_metrics_result()
    except ValueError:  # not built yet: the first step tells
        return
    check_names(names)


def check_names(names):
    """Refuses names that these numbers have.

    Raises:
        ValueError: there is one.
    """
    taken = [name for name in NAMES if name in names]
    if taken:
        raise ValueError(f"`logs` must be False where a metric is called {' or '.join(NAMES)}. Received: {', '.join(taken)}")
