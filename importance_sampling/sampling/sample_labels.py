"""The labels of all samples: what an importance that tells classes apart goes by, and what data are told from others by."""

import hashlib

import keras
import numpy as np

from importance_sampling.data.labels import MOST_CLASSES, class_ids, class_ids_if_any

_ROWS = 1000  # of targets without classes, that are looked at


def sample_labels(targets, classes, importance):
    """Class ids of all samples and the number of classes; None and 0 where there are none and none are needed.

    Args:
        targets: of all samples; anything.
        classes: their number, None where the targets are to tell it.
        importance: what makes use of them.

    Returns:
        `(N,)` ints, as small as they can be, there may be many; and a number.

    Raises:
        ValueError: the labels do not fit the importance.
    """
    if targets is None and not importance.needs_labels:
        return None, 0
    if targets is None:
        raise ValueError(
            "`y` must be given for an importance that tells classes apart, which knows the class before it reads a sample. "
            f"Received: y=None, importance={type(importance).__name__}"
        )
    found = class_ids_if_any(targets)
    if found is None and not importance.needs_labels:
        return None, 0
    ids, count = found or class_ids(targets)  # which says why not
    count = count or int(ids.max()) + 1
    largest = max(MOST_CLASSES, len(ids))  # more are none, and would make a huge table
    if classes is None and count > largest:
        if not importance.needs_labels:
            return None, 0
        raise ValueError(f"`y` must be class ids below max({MOST_CLASSES}, number of samples) = {largest}. Received: y={count - 1}")
    return ids.astype(np.min_scalar_type(ids.max(initial=0))), count if classes is None else classes


def fingerprint(labels, targets):
    """By what data are known again: a digest of all labels, or, where there are none, of a thousand targets from across the data.

    Args:
        labels: `(N,)` ints, or None.
        targets: of all samples; anything, of which arrays are looked at.

    Returns:
        A string; empty where there is nothing to look at.

    Example:
        >>> fingerprint(np.array([0, 1, 1]), None) == fingerprint(np.array([0, 1, 0]), None)
        False
    """
    if labels is not None:
        looked_at = [labels]
    else:
        arrays = [
            leaf for leaf in keras.tree.flatten(targets) if isinstance(leaf, np.ndarray) and leaf.ndim and leaf.dtype.kind in "biuf"
        ]
        looked_at = [array[np.linspace(0, len(array) - 1, min(len(array), _ROWS)).astype(np.int64)] for array in arrays]
    digest = hashlib.blake2b(digest_size=16)
    for array in looked_at:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest() if looked_at else ""
