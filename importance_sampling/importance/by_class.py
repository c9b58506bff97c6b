"""Tables with one column for each class, which grow as classes come."""

import numpy as np

_LARGEST = 1_000_000  # classes; larger numbers are no ids, and would make a huge table


def grown(sums, labels):
    """The table `(2, C)` with room for all of these class ids, zeros for the new ones.

    Raises:
        ValueError: a class id is so large that it is none.
    """
    largest = int(labels.max(initial=-1))
    if largest >= _LARGEST:
        raise ValueError(f"`y` must be class ids below {_LARGEST}. Received: y={largest}")
    missing = largest + 1 - sums.shape[1]
    return np.pad(sums, ((0, 0), (0, missing))) if missing > 0 else sums
