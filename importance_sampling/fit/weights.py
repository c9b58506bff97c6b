"""From importance weights to those of a step, and back to what each sample contributed."""

import numpy as np


def weights_of_sum(draw):
    """The weights of a draw for a loss that is a sum over the batch: of a smaller batch each sample stands for more."""
    size = draw.uniform_size or len(draw)
    return draw.weights if size == len(draw) else (size / len(draw) * draw.weights).astype(np.float32)


def unweighted(values, weights):
    """What each sample contributed without its importance weight, `(b,)`; NaN where that weight is 0."""
    values = np.asarray(values, np.float64)
    return np.divide(values, weights, out=np.full(len(values), np.nan), where=weights > 0)
