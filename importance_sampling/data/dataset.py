"""The weighted `tf.data` data set: reads the samples of each draw, and only those."""

import weakref

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.data.structures import columns, map_arrays, times


def weighted_dataset(source, draws):
    """A data set with one batch for each draw.

    Args:
        source: data with random access, see `ArraySource`; that which the draws are from, or the same samples in another form.
        draws: a callable that returns an iterator over draws, all of the same size: called once for each iteration
            over the data set.

    Returns:
        A `tf.data.Dataset` of `(x, y, sample_weight)` with the b samples of the draw along the first axis. The weights
        are the importance weights, times the user's own where the source has any; their shape is `(b, 1)` or more.

    Raises:
        TypeError: `draws` cannot be called.

    Example:
        >>> import numpy as np
        >>> from importance_sampling import ArraySource, ImportanceSampler
        >>> source = ArraySource(np.arange(20.0).reshape(10, 2), np.arange(10) % 2)
        >>> sampler = ImportanceSampler(source, importance="pcg", presample=8, seed=0)
        >>> x, y, weights = next(iter(weighted_dataset(source, lambda: iter([sampler.draw(4)]))))
        >>> x.shape, y.shape, weights.shape
        (TensorShape([4, 2]), TensorShape([4]), TensorShape([4, 1]))
    """
    if not callable(draws):
        raise TypeError(f"`draws` must be a function that returns an iterator over draws. Received: draws={type(draws).__name__}")
    one = _weighted(source[np.zeros(1, np.int64)], np.ones(1, np.float32))
    return _generated(one, lambda: (_weighted(source[draw.indices], draw.weights) for draw in draws()))


def endless_dataset(batch):
    """One batch `(x, y, sample_weight)` again and again."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.autotune.enabled = False  # nothing to tune, and the thread that would is waited for when an iterator is freed
    return tf.data.Dataset.from_tensors(_as_batch(batch)).repeat().with_options(options)


class HeldOut:
    """Validation data, those of one `fit` after another, out of one `tf.data.Dataset`: TensorFlow keeps for ever what it makes
    for each that is made `from_generator`. A deep copy has no data."""

    def __init__(self):
        self._form = self._dataset = None

    def dataset(self, source, batch_size):
        """All samples of a source in their order, once. A data set given before has these samples too, from now on."""
        parts = np.split(np.arange(len(source)), np.arange(batch_size, len(source), batch_size))
        example = _as_batch(source[parts[0]])
        form = repr(_signature(example))
        if form != self._form:
            self._form, self._dataset = form, _generated(example, None)
        self._dataset.batches.iterate = lambda: (_as_batch(source[part]) for part in parts)
        dataset = self._dataset.apply(tf.data.experimental.assert_cardinality(len(parts)))
        dataset.batches = self._dataset.batches
        return dataset

    def close(self):
        """Lets go of the data."""
        if self._dataset is not None:
            self._dataset.batches.iterate = None

    def __deepcopy__(self, memo):
        return HeldOut()


class _Batches:
    """What a data set iterates over. TensorFlow keeps the function given to `from_generator` for ever, so that function
    has only a weak reference; the data set has the strong one, and the data go when it goes."""

    def __init__(self, iterate):
        self.iterate = iterate


def _generated(example, iterate):
    batches = _Batches(iterate)
    reference = weakref.ref(batches)
    dataset = tf.data.Dataset.from_generator(lambda: map(_present, reference().iterate()), output_signature=_signature(example))
    if any(part is None for part in example):  # weights without targets
        dataset = dataset.map(lambda x, weights: (x, None, weights))
    dataset.batches = batches
    return dataset


def _present(batch):
    return tuple(part for part in batch if part is not None)


def _signature(batch):
    return keras.tree.map_structure(lambda a: tf.TensorSpec((None, *a.shape[1:]), _type(a)), _present(batch))


def _type(array):
    return tf.string if array.dtype.kind in "OSU" else array.dtype


def _weighted(batch, alpha):
    """The batch with the importance weights `(b,)` multiplied into the user's weights."""
    x, y, own = batch
    own = map_arrays(lambda weights: columns(weights, max(weights.ndim, 2)), own)
    return _as_batch((x, y, times(own, columns(alpha, 2) if own is None else alpha)))


def _as_batch(batch):
    """`(x,)`, `(x, y)` or `(x, y, sample_weight)`."""
    x, y, own = batch
    parts = (x, y, own) if own is not None else (x, y) if y is not None else (x,)
    return tuple(_as_tuples(part) for part in parts)


def _as_tuples(structure):
    """`from_generator` takes a list for a tensor: lists become tuples, which Keras takes as well."""
    if isinstance(structure, (list, tuple)):
        return tuple(_as_tuples(part) for part in structure)
    if isinstance(structure, dict):
        return {name: _as_tuples(part) for name, part in structure.items()}
    return structure
