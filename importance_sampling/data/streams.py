"""Data without random access: batches that come one after another."""

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.copying import deep_copied
from importance_sampling.data.arrays import as_array, is_array, standardized
from importance_sampling.data.indices import checked_indices, unpacked
from importance_sampling.data.structures import check_lengths, check_weights, item_of, map_arrays, size_of, without_gaps

NO_BATCH = "`x` must have at least one batch. Received: one that is empty, or has come to its end"
_END = object()  # of a pass


@dataclasses.dataclass(frozen=True)
class End:
    """The end of a pass over the data, which had so many batches, of so many samples together."""

    batches: int
    samples: int


class BatchStream:
    """A `tf.data.Dataset`, a `keras.utils.PyDataset`, another loader of batches or a generator, as one long row of batches.

    What can be read again is read pass after pass, from its beginning after `close`; a `PyDataset` with its batches in a new order
    each time. A generator is read once. After each pass, and whenever it is asked after the end of a generator, comes an `End`.

    Args:
        batches: gives `x`, `(x, y)` or `(x, y, sample_weight)` with the samples of a batch along the first axis; or the form that
            `with_indices` tells.
        change: applied to every batch `(x, y, sample_weight)`.
        shuffle: whether the batches of a `PyDataset` come in random order.
        rng: numpy Generator for that order.

    Raises:
        ValueError: there is no batch, or it is not of that form.
    """

    def __init__(self, batches, shuffle, rng, change=lambda batch: batch):
        self.batches = batches
        self._change = change
        self._shuffle, self._rng = shuffle, rng
        self._begin()
        first = self.peek()
        if isinstance(first, End):
            raise ValueError(NO_BATCH)
        self.batch_size = size_of(first[1])
        self.indexed = first[0] is not None

    def __deepcopy__(self, memo):
        """Reads the same batches, from their beginning; what is read once is shared."""
        once = isinstance(self.batches, Iterator)
        copied = deep_copied(self, memo, shared=("batches", "_change", "_iterator", "_next"))
        if not once:
            copied._begin()
        return copied

    def peek(self):
        """What comes next, without taking it: `(indices, (x, y, sample_weight))`, with None for what is not there, or an `End`."""
        if self._next is None:
            self._next = self._read()
        return self._next

    def next(self):
        """Takes what comes next."""
        found, self._next = self.peek(), None
        return found

    def close(self):
        """Ends the reading, so that no thread goes on. Returns whether it begins again; a generator goes on where it is."""
        if isinstance(self.batches, Iterator):
            return False
        if self._iterator is not None:
            self._iterator.close()
        self._begin()
        return True

    def _begin(self):
        self._iterator = self._next = None
        self._read_so_far = End(0, 0)  # of this pass

    def _read(self):
        if self._iterator is None:
            self._iterator = _passes(self.batches, self._shuffle, self._rng)
        element = next(self._iterator, _END)
        if element is _END:
            end, self._read_so_far = self._read_so_far, End(0, 0)
            return end
        indices, batch = unpacked(element)
        batch = self._change(dense_batch(batch))
        size = size_of(batch)
        if indices is not None:
            indices = checked_indices(np.asarray(indices), size)
        self._read_so_far = End(self._read_so_far.batches + 1, self._read_so_far.samples + size)
        return indices, batch


def dense_batch(batch):
    """A batch as dense arrays: `(x, y, sample_weight)`, with None for what is not there.

    Raises:
        ValueError: a part is no array of numbers or text, or has another length, or the weights do not go with the targets.
    """
    x, y, own = (
        map_arrays(lambda leaf: standardized(as_array(leaf, name, of_batch=True)), part)  # noqa: B023
        for name, part in zip(("x", "y", "sample_weight"), batch)
    )
    check_weights(y, own)
    check_lengths(x, y, own, where=" in each batch")
    return x, y, without_gaps(own, size_of(x))


def is_stream(x):
    """Whether data come in batches, as Keras takes them, rather than as arrays or single samples."""
    if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset, Iterator)):
        return True
    return hasattr(type(x), "__iter__") and not hasattr(type(x), "__getitem__") and not is_array(x)


def num_batches(batches):
    """How many batches there are, None where that is not known: of generators, and of what repeats without an end."""
    if isinstance(batches, keras.utils.PyDataset):
        return batches.num_batches
    if isinstance(batches, tf.data.Dataset):
        cardinality = int(batches.cardinality())
        return cardinality if cardinality >= 0 else None
    try:
        return len(batches)
    except TypeError:  # also of a loader over data that come one after another
        return None


def _passes(batches, shuffle, rng):
    """Batch after batch, and `_END` after each pass; after a generator nothing but that."""
    if isinstance(batches, keras.utils.PyDataset):
        yield from _pydataset(batches, shuffle, rng)
    elif isinstance(batches, Iterator):
        yield from batches
    else:
        while True:
            yield from batches.as_numpy_iterator() if isinstance(batches, tf.data.Dataset) else batches
            yield _END


def _pydataset(batches, shuffle, rng):
    """Pass after pass, by as many threads as the `PyDataset` asks for, and in order."""
    threads, begun = ThreadPoolExecutor(max(batches.workers, 1)), False
    try:
        while True:
            size = batches.num_batches
            order = itertools.count() if size is None else rng.permutation(size) if shuffle else range(size)
            batches.on_epoch_begin()
            begun = True
            if batches.workers > 1:
                yield from _read_ahead(threads, batches, order)
            else:
                yield from (item_of(batches, int(i)) for i in order)
            begun = False
            batches.on_epoch_end()
            yield _END
    except GeneratorExit:  # training ends before the next pass is asked for, or within this one
        if begun:
            batches.on_epoch_end()
        raise
    finally:
        threads.shutdown(cancel_futures=True)


def _read_ahead(threads, batches, order):
    waiting = deque()
    for i in order:
        waiting.append(threads.submit(item_of, batches, int(i)))
        if len(waiting) > batches.max_queue_size:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
