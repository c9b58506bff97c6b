"""A window that slides over a stream of batches: the candidates of each draw are the samples of the batches in it."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from importance_sampling.data.reading import gathered
from importance_sampling.data.streams import NO_BATCH, End
from importance_sampling.data.structures import arrays_of, size_of
from importance_sampling.types import Batch, Pool


@dataclass(frozen=True, eq=False)
class Part:
    """A batch of n samples, `(x, y, sample_weight)`; their places `(n,)` in the data set; their class ids `(n,)`, or None."""

    batch: Batch
    indices: np.ndarray
    labels: np.ndarray | None

    def __len__(self):
        return len(self.indices)


class Window:
    """The batches that a draw chooses from: the one whose turn it is, and as many after it as make up the presample.

    It moves on by one batch at each draw, so that there are as many draws as batches, and each batch is read once. It reaches over
    the end of a pass into the next, but never holds more than one pass has. A generator has nothing after its end: there the window
    shrinks until the turn of the last batch.

    Args:
        stream: a `BatchStream`.
        presample: maps the size of the batch whose turn it is to how many samples to hold at least, where there are as many; by 0
            each batch is taken alone.
        part_of: makes a `Part` of the indices and the batch that the stream gives.
    """

    def __init__(self, stream, presample, part_of):
        self._stream, self._presample, self._part_of = stream, presample, part_of
        self._begin()

    def example(self):
        """The batch whose turn is next, `(x, y, sample_weight)`.

        Raises:
            ValueError: there is none.
        """
        first = self._first()
        if isinstance(first, End):
            raise ValueError(NO_BATCH)
        return first.batch

    def begin_pass(self):
        """Moves on to the beginning of a pass, if it is not there. What cannot be read again goes on where it is."""
        if isinstance(self._first(), End):
            self._drop()
        elif self._begun:
            self.close()

    def next(self, over_the_end):
        """The parts of the next draw, in a list.

        Args:
            over_the_end: whether to go on with the next pass where one has ended.

        Raises:
            StopIteration: the pass has ended, again and again until `begin_pass`; or there is no next one.
            ValueError: the samples of the batches have different shapes.
        """
        if over_the_end and isinstance(self._first(), End):
            self._drop()
        if isinstance(self._first(), End):
            raise StopIteration
        self._fill()
        self._begun = self._taken = True
        return [item for item in self._items if not isinstance(item, End)]

    def close(self):
        """Ends the reading of the stream; what it held is lost where the stream begins again."""
        if self._stream.close():
            self._begin()

    def _begin(self):
        self._items = deque()  # parts, and the end of the pass that the first of them is in
        self._taken = False  # whether the first of them had its turn
        self._begun = False  # whether a batch of this pass had its turn

    def _first(self):
        if self._taken:
            self._items.popleft()
            self._taken = False
        if not self._items:
            self._read()
        return self._items[0]

    def _drop(self):
        """Leaves the end of a pass behind."""
        self._items.popleft()
        self._begun = False

    def _fill(self):
        parts = [item for item in self._items if not isinstance(item, End)]
        end = next((item for item in self._items if isinstance(item, End)), None)
        count, samples, last = len(parts), sum(map(len, parts)), parts[-1].batch
        presample = self._presample(len(parts[0]))
        while samples < presample:
            coming = self._stream.peek()
            if isinstance(coming, End):
                if end is not None:  # a pass of nothing
                    return
                end = coming
            else:
                batch = coming[1]
                count, samples = count + 1, samples + size_of(batch)
                if end is not None and (count > end.batches or samples > end.samples):
                    return
                check_shapes(last, batch)
                last = batch
            self._read()

    def _read(self):
        found = self._stream.next()
        self._items.append(found if isinstance(found, End) else self._part_of(*found))


def check_shapes(batch, other):
    """Refuses batches that no pool can be made of.

    Raises:
        ValueError: their samples have different shapes.
    """
    shapes = {str([leaf.shape[1:] for leaf in arrays_of(one)]) for one in (batch, other)}
    if len(shapes) > 1:
        raise ValueError(
            "`x` must give samples of one shape, since a pool gathers several batches: pad them, or use the "
            f"ImportanceSampling callback. Received: shapes {' and '.join(sorted(shapes))}"
        )


def pool_of_parts(parts):
    """The samples of several batches as one pool, whose x is put together only as far as it is read."""
    labels = None if parts[0].labels is None else np.concatenate([part.labels for part in parts])
    batches = [part.batch for part in parts]
    return Pool(np.concatenate([part.indices for part in parts]), labels, read=lambda positions: gathered(batches, positions))
