"""The class ids in the targets of a data set."""

import numpy as np

_WITHOUT_CLASSES = "without classes there are importance='oracle' and importance=LSTM(classes=0)"


def class_ids(targets):
    """The class of every sample.

    Args:
        targets: whole numbers `(N,)` or `(N, 1)` of any dtype, or one-hot `(N, C)`.

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
    if not isinstance(targets, np.ndarray):
        raise ValueError(f"{rule}. Received: {type(targets).__name__}")
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
        raise ValueError(f"{rule}, counted from 0. Received: y={ids.min()}")
    return ids.astype(np.int64), None


def check_outputs(targets, outputs):
    """Refuses class ids that a model has no output for.

    Args:
        targets: as for `class_ids`.
        outputs: the symbolic outputs of the model; a subclassed model, or one not built yet, has none to tell.

    Raises:
        ValueError: an id is too large.
    """
    ids, classes = class_ids(targets)
    if classes is not None or len(outputs) != 1 or len(outputs[0].shape) != 2:
        return
    limit = max(outputs[0].shape[-1], 2)  # one output tells two classes apart
    if ids.max() >= limit:
        raise ValueError(
            f"`y` must be class ids in [0, {limit}), by the model's outputs, for an importance that tells classes apart "
            f"({_WITHOUT_CLASSES}). Received: y={ids.max()}"
        )
