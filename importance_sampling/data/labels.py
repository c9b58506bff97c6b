"""The class ids in the targets of a data set."""

import keras
import numpy as np

_WITHOUT_CLASSES = "importance='oracle' and importance=LSTMImportance(classes=0) do without"
MOST_CLASSES = 100_000  # larger numbers, of fewer samples, are no class ids
_UNKNOWN = 1000  # stands for the number of classes where nothing tells it: more are rare, and a class that is shared does no harm


def single(targets):
    """The array of targets that are one, also as the only part of a structure; else the targets as they are."""
    leaves = keras.tree.flatten(targets)
    return leaves[0] if len(leaves) == 1 else targets


def class_ids(targets):
    """The class of every sample.

    Args:
        targets: whole numbers `(N,)` or `(N, 1)` of any dtype, or one-hot `(N, C)`; or a structure with nothing but these.

    Returns:
        `(N,)` int64 ids, and C for one-hot targets or None for ids.

    Raises:
        ValueError: the targets are neither, or an id is negative.

    Example:
        >>> class_ids(np.array([[0, 0, 1], [1, 0, 0]]))
        (array([2, 0]), 3)
        >>> class_ids(np.array([[4], [1]]))
        (array([4, 1]), None)
    """
    rule = (
        f"`y` must be class ids (N,) or (N, 1), or one-hot (N, C), for an importance that tells classes apart ({_WITHOUT_CLASSES})"
    )
    targets = single(targets)
    if not isinstance(targets, np.ndarray):
        raise ValueError(f"{rule}. Received: {type(targets).__name__ if targets else 'no targets'}")
    if targets.ndim == 2 and targets.shape[1] > 1:
        if not (np.all((targets == 0) | (targets == 1)) and np.all(targets.sum(axis=1) == 1)):
            raise ValueError(f"{rule}. Received: y.shape={targets.shape}, with rows that are not one-hot")
        return targets.argmax(axis=1), targets.shape[1]
    if targets.ndim not in (1, 2) or targets.dtype.kind not in "buif":
        raise ValueError(f"{rule}. Received: y.shape={targets.shape}, y.dtype={targets.dtype}")
    ids = targets.reshape(len(targets))
    if ids.dtype.kind == "f" and not np.all(ids == np.floor(ids)):  # NaN and inf fail here or below
        raise ValueError(f"{rule}. Received: y={ids[ids != np.floor(ids)][0]}")
    if not np.all(np.isfinite(ids)):
        raise ValueError(f"{rule}. Received: y={ids[~np.isfinite(ids)][0]}")
    if ids.min() < 0:
        raise ValueError(f"{rule}, counted from 0; one that does not count is `ignore_class` of the loss. Received: y={ids.min()}")
    return ids.astype(np.int64), None


def class_ids_if_any(targets):
    """What `class_ids` returns, or None where the targets are not of that kind."""
    try:
        return class_ids(targets)
    except ValueError:
        return None


def classes_of_outputs(outputs):
    """How many classes a model can tell apart, by its symbolic outputs, or None: C for one output `(n, C)`, and 2 for `(n, 1)`."""
    width = _width(outputs)
    return None if width is None else max(width, 2)


def _width(outputs):
    """The length of the rows of a single output, None where there is no such output."""
    return outputs[0].shape[-1] if len(outputs) == 1 and len(outputs[0].shape) == 2 else None


def classes_for(targets, outputs):
    """The number of classes that an importance is told of, judged by the model's outputs too.

    Args:
        targets: of all samples; anything.
        outputs: the symbolic outputs of the model; a subclassed model, or one not built yet, has none to tell.

    Returns:
        None where the targets tell it, 0 where they hold no classes: a single output that is trained on other numbers than
        0 and 1 is a regression.

    Raises:
        ValueError: the model has several outputs, for which whole numbers are class ids, and one is out of range.
    """
    limit, targets = _width(outputs), single(targets)
    found = class_ids_if_any(targets)
    if found is None:
        if limit and limit > 1 and isinstance(targets, np.ndarray) and targets.ndim == 1 and targets.dtype.kind == "i":
            class_ids(targets)  # which says why not
        return 0
    ids, classes = found
    if classes is not None or limit is None:
        return None
    if limit == 1:
        return None if ids.max() < 2 else 0
    if ids.max() >= limit:
        raise ValueError(
            f"`y` must be class ids in [0, {limit}), by the model's outputs, for an importance that tells classes apart "
            f"({_WITHOUT_CLASSES}). Received: y={ids.max()}"
        )
    return None


def ignored_classes(model):
    """The ids that a model's losses leave out, each with whether Keras divides by the number of what is left: the `ignore_class`
    of `SparseCategoricalCrossentropy`, or of its function in a `functools.partial`. Returns a dictionary."""
    found = {}
    for loss in keras.tree.flatten(model.loss):
        one = getattr(loss, "keywords", {}).get("ignore_class", getattr(loss, "ignore_class", None))
        if one is not None:
            found[int(one)] = found.get(int(one), False) or getattr(loss, "reduction", None) != "sum"
    return found


class Apart:
    """Gives samples of an ignored class, such as -1 or 255, a class of their own: an importance counts classes from 0.

    An ignored class among those of the model is one already.

    Args:
        model: a compiled `keras.Model`.
        classes: their number, None where the model's outputs are to tell it.

    Attributes:
        ignored: the ids it concerns.
    """

    def __init__(self, model, classes=None):
        limit = classes or _width(getattr(model, "outputs", None) or [])
        self._own = limit if limit and limit > 1 else _UNKNOWN
        self.ignored = {one for one in ignored_classes(model) if not 0 <= one < self._own}

    def __call__(self, targets):
        """Class ids, `(n,)` or `(n, 1)`, with the ignored ones as one more class; other targets as they are."""
        targets = single(targets)
        ignored = self._found(targets)
        if ignored is None or not ignored.any():
            return targets
        return np.where(ignored, self._own, targets.astype(np.int64 if targets.dtype.kind in "iu" else targets.dtype))

    def without(self, targets):
        """The same targets without the samples of ignored classes; a single class where no other is left."""
        targets = single(targets)
        ignored = self._found(targets)
        if ignored is None:
            return targets
        return np.zeros(1, np.int64) if ignored.all() else targets[~ignored.reshape(len(targets))]

    def more(self, classes):
        """The number of classes with that of the ignored."""
        return classes + 1 if classes and self.ignored else classes

    def _found(self, targets):
        ids = isinstance(targets, np.ndarray) and targets.dtype.kind in "iuf" and targets.size == len(targets)
        return np.isin(targets, list(self.ignored)) if ids and self.ignored else None
