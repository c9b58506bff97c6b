"""What `LSTMImportance` may be given, its classes, and the unit in which its network sees losses."""

import numpy as np

from importance_sampling.arguments import number


def check(learning_rate, quantity):
    """Refuses arguments that break a rule, see `LSTMImportance`."""
    number("learning_rate", learning_rate, "> 0", lambda rate: rate > 0)
    if quantity not in ("loss", "gnorm"):
        raise ValueError(f"`quantity` must be 'loss' or 'gnorm'. Received: quantity={quantity!r}")


def unit_of(mean):
    """The unit in which the network sees losses: 1, as in the paper, unless their first mean is far from it."""
    return 1.0 if mean <= 0 or 0.1 <= mean <= 10 else mean


def classes_for(wanted, found, room):
    """How many classes the network tells apart.

    Args:
        wanted: what the constructor was given, or None.
        found: what the labels have, or None where they come with the batches.
        room: what the outputs of the model tell apart, or None.

    Raises:
        ValueError: the labels need more classes than were `wanted`, or nothing tells their number.
    """
    if found is None and wanted is None:
        raise ValueError(
            "`importance` must be LSTMImportance(classes=...) where the labels come with the batches and the model's outputs "
            "do not tell the number of classes; 0 for data without classes. Received: classes=None"
        )
    if wanted and found and found > wanted:
        raise ValueError(f"`y` must be class ids in [0, {wanted}). Received: y={found - 1}")
    return wanted if wanted is not None else found and max(found, room or 0)


def class_ids(labels, n, classes):
    """`(n,)` int32 of labels `(n,)`, or of None where there are no classes.

    Raises:
        ValueError: a label is none of the classes.
    """
    if not classes:
        return np.zeros(n, np.int32)
    if labels.max(initial=-1) >= classes:
        raise ValueError(f"`y` must be class ids below `classes`, {classes}. Received: y={labels.max()}")
    return labels.astype(np.int32)
