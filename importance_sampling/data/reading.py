"""Samples read once, though they are asked for twice: to be scored, and to be trained on."""

import numpy as np

from importance_sampling.data.structures import map_arrays, size_of, take


class CachedReader:
    """Reads the samples of a pool once: what an importance has read to score it is not read again to train on it.

    Args:
        source: data with random access.
        indices: `(B,)` ints, the places of the pool in it.
    """

    def __init__(self, source, indices):
        self._source, self._indices = source, indices
        self._batches, self._rows = [], None  # what was read; for each position its row there, -1 for none

    def __call__(self, positions):
        """The samples at some positions in the pool, `(n,)` ints: `(x, y, sample_weight)`."""
        if self._rows is not None and np.all(self._rows[positions] >= 0):
            return gathered(self._batches, self._rows[positions])
        batch = self._source[self._indices[positions]]
        if self._rows is None:
            self._rows, self._count = np.full(len(self._indices), -1), 0
        self._rows[positions] = self._count + np.arange(len(positions))
        self._count += len(positions)
        self._batches.append(batch)
        return batch


def gathered(batches, rows):
    """The samples at some rows `(n,)` of several batches, counted from one batch to the next, in the order of the rows."""
    ends = np.cumsum([size_of(batch) for batch in batches])
    where = np.searchsorted(ends, rows, side="right")  # (n,) number of the batch
    found = [take(batches[i], rows[where == i] - (ends[i] - size_of(batches[i]))) for i in np.unique(where)]
    if len(found) == 1:
        return found[0]
    place = np.argsort(np.argsort(where, kind="stable"))  # of each row among those that were found
    return map_arrays(lambda *leaves: np.concatenate(leaves)[place], *found)
