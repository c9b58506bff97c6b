"""The place of each sample in data that come in batches, beside its weight."""

import keras
import tensorflow as tf


def with_indices(dataset):
    """Gives every sample its place in the data, so that an importance can keep a history of each, as `"approx"` does.

    What it returns goes to `ImportanceTraining.fit` and, with the `ImportanceSampling` callback, to `model.fit`. Batches made in
    another way have the same form: `(x, y, {"index": indices})`, or `(x, y, {"index": indices, "sample_weight": weights})`, with
    whole numbers >= 0 that stay with their samples.

    Keras under a `tf.distribute` strategy builds metrics from the first batch, and would take the indices for weights: build them
    before `model.fit` with the callback, by `model.test_on_batch(x, y)` on a few samples.

    Args:
        dataset (tf.data.Dataset): gives single samples `(x, y)` or `(x, y, sample_weight)`, before it is shuffled and batched.

    Returns:
        A `tf.data.Dataset` of samples of that form. As validation data of plain `model.fit` the indices would be sample weights.

    Raises:
        TypeError: it is no `tf.data.Dataset`.
        ValueError: the samples are neither.

    Example:
        >>> import tensorflow as tf
        >>> dataset = with_indices(tf.data.Dataset.from_tensor_slices(([[1.0], [2.0]], [0, 1]))).shuffle(2).batch(2)
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(
            "`dataset` must be a tf.data.Dataset; other batches take the form (x, y, {'index': indices}). "
            f"Received: dataset={type(dataset).__name__}"
        )
    spec = dataset.element_spec
    if not (isinstance(spec, tuple) and len(spec) in (2, 3)):
        raise ValueError(f"`dataset` must give samples (x, y) or (x, y, sample_weight). Received: {spec}")
    if _has_indices(spec):
        raise ValueError("`dataset` must have no indices yet. Received: one that went through with_indices")

    def placed(index, sample):
        x, y, *own = sample
        return x, y, {"index": index, **({"sample_weight": own[0]} if own else {})}

    return dataset.enumerate().map(placed)


def without_indices(data):
    """Validation data as they were before `with_indices`, where they are a `tf.data.Dataset` that it has changed."""
    if not isinstance(data, tf.data.Dataset) or not _has_indices(data.element_spec):
        return data
    return data.map(lambda x, y, own: (x, y, own["sample_weight"]) if "sample_weight" in own else (x, y))


def unpacked(batch):
    """The parts of a batch: its indices, which may be None, and `(x, y, sample_weight)`."""
    x, y, own = keras.utils.unpack_x_y_sample_weight(batch)
    return (own["index"], (x, y, own.get("sample_weight"))) if _has_indices((x, y, own)) else (None, (x, y, own))


def _has_indices(batch):
    """Whether it is of the form that `with_indices` tells."""
    own = batch[2] if isinstance(batch, tuple) and len(batch) == 3 else None
    return isinstance(own, dict) and "index" in own and set(own) <= {"index", "sample_weight"}


def checked_indices(indices, count):
    """The places of the samples of a batch, `(count,)` ints.

    Raises:
        ValueError: they are not.
    """
    if getattr(indices, "shape", None) != (count,) or indices.dtype.kind not in "iu" or indices.min(initial=0) < 0:
        received = "no array" if not hasattr(indices, "shape") else f"{indices.dtype} of shape {indices.shape}"
        raise ValueError(
            '`x` must give an "index" for each sample, a whole number >= 0 that is put in before the samples are batched, see '
            f"with_indices. Received: {received} for {count} samples"
        )
    return indices
