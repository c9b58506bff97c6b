"""Data without random access: batches that come one after another."""

import itertools
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf


class Indexed:
    """Batches that say which samples they hold, so that an importance can keep a history of each sample.

    Args:
        batches: a `tf.data.Dataset`, `keras.utils.PyDataset` or generator of `(indices, (x, y))` or
            `(indices, (x, y, sample_weight))`, with indices `(b,)` in [0, size) that stay with their samples.
        size: N, the number of samples.
        classes: the number of classes, for an importance that tells classes apart.

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
    """A `tf.data.Dataset`, a `keras.utils.PyDataset` or a generator of batches, as a queue of samples.

    What repeats is read again and again, a `PyDataset` with its batches in a new order each time, by one thread. A generator is
    read once; what is left of it when a pool cannot be filled any more is not used.

    Args:
        batches: gives `(x, y)` or `(x, y, sample_weight)` with the samples of a batch along the first axis; or `Indexed`.
        change: applied to every batch `(x, y, sample_weight)`.
        shuffle: whether the batches of a `PyDataset` come in random order.
        rng: numpy Generator for that order.

    Raises:
        ValueError: there is no batch, or it is not of that form.
    """

    def __init__(self, batches, shuffle, rng, change=lambda batch: batch):
        self.indexed = isinstance(batches, Indexed)
        self.size, self.classes = (batches.size, batches.classes) if self.indexed else (None, None)
        batches = batches.batches if self.indexed else batches
        self._change = change
        self.num_batches = _num_batches(batches)
        self._iterator = _endless(batches, shuffle, rng)
        self._shapes = None
        self._waiting = []  # batches that were read and not taken
        try:
            first = self._read()
        except StopIteration:
            raise ValueError("`x` must have at least one batch. Received: empty data") from None
        self.batch_size = _size(first)
        self._waiting.append(first)

    def example(self):
        """The batch that comes next, `(x, y, sample_weight)`; it is not taken."""
        try:
            if not self._waiting:
                self._waiting.append(self._read())
        except StopIteration:
            raise ValueError("`x` must have at least one batch. Received: a generator that has come to its end") from None
        return _three(self._waiting[0][1])

    def take(self, count):
        """The next `count` samples, `(x, y, sample_weight)`, and their indices `(count,)`, or None where they have none.

        Raises:
            StopIteration: a generator has no more.
        """
        available = sum(map(_size, self._waiting))
        while available < count:
            self._waiting.append(self._read())
            available += _size(self._waiting[-1])
        joined = keras.tree.map_structure(lambda *leaves: np.concatenate(leaves), *self._waiting)
        rest = keras.tree.map_structure(lambda leaf: leaf[count:], joined)
        self._waiting = [rest] if _size(rest) else []
        indices, batch = keras.tree.map_structure(lambda leaf: leaf[:count], joined)
        return _three(batch), indices if self.indexed else None

    def _read(self):
        """`(indices, batch)`, where indices are `()` if there are none and the batch has two or three parts."""
        element = next(self._iterator)
        indices, batch = element if self.indexed else ((), element)
        batch = self._change(_three(_as_batch(batch)))
        batch = tuple(part for part in batch if part is not None)
        shapes = keras.tree.map_structure(lambda leaf: leaf.shape[1:], keras.tree.flatten(batch))
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            raise ValueError(
                "`x` must give samples of one shape, since a pool gathers several batches: pad them, or use the "
                f"ImportanceSampling callback. Received: shapes {shapes} after {self._shapes}"
            )
        return keras.tree.map_structure(np.asarray, indices), batch


def is_stream(x):
    """Whether data come in batches, as Keras takes them, rather than as arrays or single samples."""
    return isinstance(x, (tf.data.Dataset, keras.utils.PyDataset, Indexed, Iterator))


def _num_batches(batches):
    if isinstance(batches, keras.utils.PyDataset):
        return batches.num_batches
    if isinstance(batches, tf.data.Dataset):
        cardinality = int(batches.cardinality())
        return cardinality if cardinality > 0 else None
    return None


def _endless(batches, shuffle, rng):
    if isinstance(batches, tf.data.Dataset):
        yield from batches.repeat().as_numpy_iterator()
    elif isinstance(batches, keras.utils.PyDataset):
        for _ in itertools.count():
            size = batches.num_batches
            order = itertools.count() if size is None else rng.permutation(size) if shuffle else range(size)
            yield from (batches[int(i)] for i in order)
            batches.on_epoch_end()
    else:
        yield from batches


def _as_batch(batch):
    """`(x, y)` or `(x, y, sample_weight)` as arrays, floats as Keras's `floatx`."""
    if not (isinstance(batch, (tuple, list)) and len(batch) in (2, 3)):
        raise ValueError(
            f"`x` must give batches as (x, y) or (x, y, sample_weight). Received: a batch of type {type(batch).__name__}"
        )
    batch = tuple(part for part in batch if part is not None)
    return keras.tree.map_structure(_as_array, batch)


def _as_array(leaf):
    array = np.asarray(leaf)
    return array.astype(keras.config.floatx(), copy=False) if array.dtype.kind == "f" else array


def _three(batch):
    x, y, *own = batch
    return x, y, own[0] if own else None


def _size(element):
    return len(keras.tree.flatten(element[1][0])[0])
