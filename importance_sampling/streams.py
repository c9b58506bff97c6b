"""Data without random access: batches that come one after another."""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.copying import deep_copied
from importance_sampling.structures import arrays_of, as_array, item_of, map_arrays, size_of, standardized, take


class Indexed:
    """Batches that say which samples they hold, so that an importance can keep a history of each sample.

    Args:
        batches: a `tf.data.Dataset`, `keras.utils.PyDataset` or generator of `(indices, (x, y))` or
            `(indices, (x, y, sample_weight))`, with indices `(b,)` in [0, size) that stay with their samples.
        size: N, the number of samples.
        classes: the number of classes, for an importance that tells classes apart; 0 for data without classes.

    Raises:
        ValueError: `size` is below 1.

    Example:
        >>> import tensorflow as tf
        >>> samples = tf.data.Dataset.from_tensor_slices(([[1.0], [2.0], [3.0]], [0, 1, 0]))
        >>> indexed = Indexed(samples.enumerate().shuffle(3).batch(2), size=3, classes=2)
    """

    def __init__(self, batches, size, classes=None):
        if size < 1:
            raise ValueError(f"`size` must be >= 1. Received: size={size}")
        self.batches, self.size, self.classes = batches, size, classes


class BatchStream:
    """A `tf.data.Dataset`, a `keras.utils.PyDataset`, another loader of batches or a generator, as a queue of samples.

    What repeats is read again and again, from its beginning after `close`; a `PyDataset` with its batches in a new order each
    time. A generator is read once; what is left of it when a pool cannot be filled any more is not used.

    Args:
        batches: gives `x`, `(x, y)` or `(x, y, sample_weight)` with the samples of a batch along the first axis; or `Indexed`.
        change: applied to every batch `(x, y, sample_weight)`.
        shuffle: whether the batches of a `PyDataset` come in random order.
        rng: numpy Generator for that order.

    Raises:
        ValueError: there is no batch, or it is not of that form.
    """

    def __init__(self, batches, shuffle, rng, change=lambda batch: batch):
        self.indexed = isinstance(batches, Indexed)
        self.size, self.classes = (batches.size, batches.classes) if self.indexed else (None, None)
        self.batches = batches.batches if self.indexed else batches
        self._change = change
        self._shuffle, self._rng = shuffle, rng
        self._iterator = None
        self._waiting = []  # elements that were read and not taken
        self.batch_size = size_of(self.example())

    def __deepcopy__(self, memo):
        """Reads the same batches, from their beginning; what is read once is shared."""
        once = isinstance(self.batches, Iterator)
        copied = deep_copied(self, memo, shared=("batches", "_change", "_iterator", "_waiting"))
        copied._iterator, copied._waiting = (self._iterator, self._waiting) if once else (None, [])
        return copied

    def example(self):
        """The batch that comes next, `(x, y, sample_weight)`; it is not taken.

        Raises:
            ValueError: there is none.
        """
        try:
            if not self._waiting:
                self._waiting.append(self._read())
        except StopIteration:
            raise ValueError("`x` must have at least one batch. Received: one that is empty, or has come to its end") from None
        return self._waiting[0][1]

    def next_batch(self):
        """The next batch as it comes, `(x, y, sample_weight)`, and its indices `(b,)`, or None where it has none.

        Raises:
            StopIteration: a generator has no more.
        """
        indices, batch = self._waiting.pop(0) if self._waiting else self._read()
        return batch, indices

    def take(self, count):
        """The next `count` samples, `(x, y, sample_weight)`, and their indices `(count,)`, or None where they have none.

        Fewer at the end of a generator.

        Raises:
            StopIteration: a generator has no more.
            ValueError: the samples of the batches have different shapes.
        """
        available = sum(map(size_of, self._waiting))
        while available < count:
            try:
                self._waiting.append(self._read())
            except StopIteration:
                if not available:
                    raise
                break
            available += size_of(self._waiting[-1])
        shapes = {str([leaf.shape[1:] for leaf in arrays_of(element)]) for element in self._waiting}
        if len(shapes) > 1:
            raise ValueError(
                "`x` must give samples of one shape, since a pool gathers several batches: pad them, or use the "
                f"ImportanceSampling callback. Received: shapes {' and '.join(sorted(shapes))}"
            )
        joined = map_arrays(lambda *leaves: np.concatenate(leaves), *self._waiting)
        self._waiting = [take(joined, slice(count, None))] if available > count else []
        indices, batch = take(joined, slice(count))
        return batch, indices

    def close(self):
        """Ends the reading, so that no thread goes on; what repeats begins again when it is read again."""
        if self._iterator is not None and not isinstance(self.batches, Iterator):
            self._iterator.close()
            self._iterator, self._waiting = None, []

    def _read(self):
        """The next `(indices, (x, y, sample_weight))`, with None for what is not there."""
        if self._iterator is None:
            self._iterator = _endless(self.batches, self._shuffle, self._rng)
        element = next(self._iterator)
        if self.indexed and not (isinstance(element, (tuple, list)) and len(element) == 2):
            raise ValueError(f"`x` must give batches (indices, (x, y)) where it is Indexed. Received: a {type(element).__name__}")
        indices, batch = element if self.indexed else (None, element)
        batch = map_arrays(lambda leaf: standardized(as_array(leaf)), keras.utils.unpack_x_y_sample_weight(batch))
        batch = self._change(batch)
        if self.indexed:
            indices = checked_indices(np.asarray(indices), size_of(batch), "batches (indices, (x, y)) where it is Indexed")
        return indices, batch


def checked_indices(indices, count, form):
    """The places of the samples of a batch, `(count,)` ints.

    Raises:
        ValueError: they are not of that form.
    """
    if getattr(indices, "shape", None) != (count,) or indices.dtype.kind not in "iu":
        received = "no array" if not hasattr(indices, "shape") else f"{indices.dtype} of shape {indices.shape}"
        raise ValueError(
            f"`x` must give {form}, with a whole number for each sample: put in before the samples are batched. "
            f"Received: {received} for {count} samples"
        )
    return indices


def is_stream(x):
    """Whether data come in batches, as Keras takes them, rather than as arrays or single samples."""
    if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset, Indexed, Iterator)):
        return True
    return hasattr(type(x), "__iter__") and not any(hasattr(type(x), name) for name in ("__getitem__", "__array__"))


def num_batches(batches):
    """How many batches there are, None where that is not known: of generators, and of what repeats without an end."""
    if isinstance(batches, Indexed):
        return num_batches(batches.batches)
    if isinstance(batches, keras.utils.PyDataset):
        return batches.num_batches
    if isinstance(batches, tf.data.Dataset):
        cardinality = int(batches.cardinality())
        return cardinality if cardinality >= 0 else None
    return len(batches) if hasattr(batches, "__len__") else None


def _endless(batches, shuffle, rng):
    if isinstance(batches, tf.data.Dataset):
        yield from batches.repeat().as_numpy_iterator()
    elif isinstance(batches, keras.utils.PyDataset):
        yield from _pydataset(batches, shuffle, rng)
    elif isinstance(batches, Iterator):
        yield from batches
    else:
        while True:
            found = False
            for batch in batches:
                found = True
                yield batch
            if not found:
                return


def _pydataset(batches, shuffle, rng):
    """Pass after pass, by as many threads as the `PyDataset` asks for, and in order."""
    threads = ThreadPoolExecutor(max(batches.workers, 1))
    try:
        while True:
            size = batches.num_batches
            order = itertools.count() if size is None else rng.permutation(size) if shuffle else range(size)
            batches.on_epoch_begin()
            if batches.workers > 1:
                yield from _read_ahead(threads, batches, order)
            else:
                yield from (item_of(batches, int(i)) for i in order)
            batches.on_epoch_end()
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
