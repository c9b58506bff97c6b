"""The weighted `tf.data` data set: reads the samples of each draw, and only those."""

import threading
import weakref
from collections import deque

import keras
import numpy as np
import tensorflow as tf


def weighted_dataset(source, draws):
    """A data set with one batch for each draw.

    Args:
        source: data with random access, see `ArraySource`.
        draws: a callable that returns an iterator over `Draw`s, all of the same size: called once for each iteration
            over the data set.

    Returns:
        A `tf.data.Dataset` of `(x, y, sample_weight)` with the b samples of the draw along the first axis. The weights
        are the importance weights, times the user's own where the source has any; their shape is `(b, 1)` or more.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import ArraySource, ImportanceSampler
        >>> source = ArraySource(np.arange(20.0).reshape(10, 2), np.arange(10) % 2)
        >>> sampler = ImportanceSampler(source, importance="pcg", presample=8, seed=0)
        >>> x, y, weights = next(iter(weighted_dataset(source, lambda: iter([sampler.draw(4)]))))
        >>> x.shape, y.shape, weights.shape
        (TensorShape([4, 2]), TensorShape([4]), TensorShape([4, 1]))
    """
    one = _weighted(source[np.zeros(1, np.int64)], np.ones(1, np.float32))
    return _generated(one, lambda: (_weighted(draw.read(), draw.weights) for draw in draws()))


def plain_dataset(example, batches):
    """Batches as plain `fit` has them, for the engine to weigh.

    Args:
        example: a batch `(x, y, sample_weight)`, for shapes and types.
        batches: a callable that returns an iterator over such batches.
    """
    return _generated(_as_batch(example), lambda: (_as_batch(batch) for batch in batches()))


def ordered_dataset(source, batch_size):
    """All samples of a source in their order, once, for validation."""
    parts = np.split(np.arange(len(source)), np.arange(batch_size, len(source), batch_size))
    dataset = plain_dataset(source[parts[0]], lambda: (source[part] for part in parts))
    return dataset.apply(tf.data.experimental.assert_cardinality(len(parts)))


class _Batches:
    """What a data set iterates over. TensorFlow keeps the function given to `from_generator` for ever, so that function
    has only a weak reference; the data set has the strong one, and the data go when it goes."""

    def __init__(self, iterate):
        self.iterate = iterate


def _generated(example, iterate):
    signature = keras.tree.map_structure(lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype), example)
    batches = _Batches(iterate)
    reference = weakref.ref(batches)
    dataset = tf.data.Dataset.from_generator(lambda: reference().iterate(), output_signature=signature)
    dataset.batches = batches
    return dataset


class Feed:
    """Hands batches from the engine to the data set that `fit` iterates over, in order.

    Before `open` and after `close` nobody puts in batches: whoever asks gets `example` once. `fit` looks at one batch before
    the first step, to build the model; that look must not use up a draw.
    """

    def __init__(self, example):
        self._example = example
        self._waiting = deque()
        self._changed = threading.Condition()
        self._is_open = False

    def open(self):
        """From now on batches are waited for."""
        with self._changed:
            self._waiting.clear()
            self._is_open = True

    def close(self):
        """Ends every iteration over the feed, so that no thread goes on waiting."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def put(self, batch):
        with self._changed:
            self._waiting.append(batch)
            self._changed.notify()

    def __call__(self):
        """Iterates over the batches."""
        if not self._is_open:
            yield self._example
            return
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._is_open)
                if not self._is_open:
                    return
                batch = self._waiting.popleft()
            yield batch


def _weighted(batch, alpha):
    """The batch with the importance weights `(b,)` multiplied into the user's weights."""
    x, y, *own = _as_batch(batch)

    def multiply(weights):
        rank = max(weights.ndim, 2)
        return weights.reshape(len(alpha), *weights.shape[1:] or (1,)) * alpha.reshape(-1, *[1] * (rank - 1))

    return (x, y, keras.tree.map_structure(multiply, own[0]) if own else alpha[:, None])


def _as_batch(batch):
    """`(x, y)` or `(x, y, sample_weight)`."""
    return tuple(_as_tuples(part) for part in batch if part is not None)


def _as_tuples(structure):
    """`from_generator` takes a list for a tensor: lists become tuples, which Keras takes as well."""
    if isinstance(structure, (list, tuple)):
        return tuple(_as_tuples(part) for part in structure)
    if isinstance(structure, dict):
        return {name: _as_tuples(part) for name, part in structure.items()}
    return structure
