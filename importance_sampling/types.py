"""What the parts of the library hand to each other.

Shapes use fixed letters: N samples in the data set, B in the pool (the presample), b in the batch, H the length of the
loss history. Everything here is a plain record or a protocol; nothing computes.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Batch = tuple[Any, Any, Any]  # x, y, sample_weight; nested structures of arrays, sample_weight may be None
State = dict[str, Any]  # nested dictionary of numpy arrays, numbers and strings


@dataclass(frozen=True, eq=False)
class Pool:
    """The candidates of one draw.

    Attributes:
        indices: `(B,)` int64, their places in the data set.
        labels: `(B,)` int64 class ids, or None where the importance makes no use of them.
        read: maps positions in the pool, `(n,)` ints, to their `(x, y, sample_weight)`. Nothing of the data is read
            until it is called: an importance that needs only indices and labels costs no loading.
    """

    indices: np.ndarray
    labels: np.ndarray | None
    read: Callable[[np.ndarray], Batch]

    def __len__(self):
        return len(self.indices)


@dataclass(frozen=True, eq=False)
class Draw:
    """The samples chosen for one training step, and how often each was expected to be chosen.

    Attributes:
        indices: `(b,)` int64, places in the data set; the drawing rule may choose a sample several times.
        labels: `(b,)` int64 class ids, or None where the importance makes no use of them.
        expected: `(b,)` float64, the expected counts n_i: how often each was to be chosen, on average.
        weights: `(b,)` float32, the sample weights alpha_i (eq. 12).
        scores: `(b,)` float64, the importance before smoothing; NaN where nothing was scored.
        pool_size: B, the number of candidates that the samples were chosen from.
        read: reads the chosen samples, and only them: `(x, y, sample_weight)` with b samples along the first axis. None in a
            draw made by hand. A draw that is kept may keep its pool in memory.
        pool_indices: `(B,)` int64, places of the whole pool in the data set. None in a draw made by hand.
        pool_scores: `(B,)` float64, the importance of the whole pool before smoothing; NaN where nothing was scored.
            None in a draw made by hand.
        pool_expected: `(B,)` float64, the expected counts of the whole pool, with a sum of b. None in a draw made by hand.
        batches (int): how many batches of one pool these are, told as one draw.
        measured (bool): whether anything is learnt from it. Not always where the importance chooses nothing, as at times in "auto":
            then every weight is 1.
        uniform_size (int or None): how many samples uniform sampling would take in this step, which a batch-size rule may change;
            None in a draw made by hand.
    """

    indices: np.ndarray
    labels: np.ndarray | None
    expected: np.ndarray
    weights: np.ndarray
    scores: np.ndarray
    pool_size: int
    read: Callable[[], Batch] | None = None
    pool_indices: np.ndarray | None = None
    pool_scores: np.ndarray | None = None
    pool_expected: np.ndarray | None = None
    batches: int = 1
    measured: bool = True
    uniform_size: int | None = None

    def __len__(self):
        return len(self.indices)

    @functools.cached_property
    def relative(self):
        """`(b,)` float64, `q_i = B n_i / b`: how many times as often as by a uniform choice each was to be chosen."""
        return self.pool_size * (self.expected / len(self.indices))


class Source(Protocol):
    """Data with random access.

    `targets` are those of all samples; `()` where there are none, and None where they are known only once a sample is read.
    """

    targets: Any

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Batch: ...
