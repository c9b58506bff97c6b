"""What the parts of the library hand to each other.

Shapes use fixed letters: N samples in the data set, B in the pool (the presample), b in the batch, H the length of the
loss history. Everything here is a plain record or a protocol; nothing computes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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
    """The samples chosen for one training step. It carries the probabilities they were really drawn with.

    Attributes:
        indices: `(b,)` int64, places in the data set; draws are with replacement, so they may repeat.
        labels: `(b,)` int64 class ids, or None where the importance makes no use of them.
        probabilities: `(b,)` float64, p_i over the pool.
        weights: `(b,)` float32, the sample weights alpha_i (eq. 12).
        scores: `(b,)` float64, the importance before smoothing; NaN where nothing was scored.
        presample: B, the size of the pool the samples were chosen from.
        read: reads the chosen samples, and only them: `(x, y, sample_weight)` with b samples along the first axis. None in a
            draw made by hand. A draw that is kept may keep its pool in memory.
        candidates: `(B,)` int64, places of the whole pool in the data set. None in a draw made by hand.
        candidate_scores: `(B,)` float64, the importance of the whole pool before smoothing; NaN where nothing was scored.
            None in a draw made by hand.
    """

    indices: np.ndarray
    labels: np.ndarray | None
    probabilities: np.ndarray
    weights: np.ndarray
    scores: np.ndarray
    presample: int
    read: Callable[[], Batch] | None = None
    candidates: np.ndarray | None = None
    candidate_scores: np.ndarray | None = None

    def __len__(self):
        return len(self.indices)


class Source(Protocol):
    """Data with random access.

    `targets` are those of all samples; `()` where there are none, and None where they are known only once a sample is read.
    """

    targets: Any

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray) -> Batch: ...


@runtime_checkable
class Importance(Protocol):
    """How important each candidate is.

    `of` names the quantity that the scores estimate and that `update` is given: `"loss"`, `"gnorm"` (the gradient-norm
    bound), `"full_gnorm"`, or None where there is nothing to estimate and every sample counts the same.
    `uses_labels` says whether `build` and `score` make use of class ids, `needs_labels` whether they cannot do without, and
    `uses_indices` whether they need to know a sample when it comes again. In `build`, what an importance does not use may be
    None; so may be the number of classes where they come with the batches. It is 0 where the data have no classes.
    """

    of: str | None
    uses_indices: bool
    uses_labels: bool
    needs_labels: bool

    def build(self, size: int | None, classes: int | None, seed: int) -> None: ...

    def score(self, pool: Pool) -> np.ndarray: ...

    def update(self, indices: np.ndarray, labels: np.ndarray | None, values: np.ndarray) -> None: ...

    def get_state(self) -> State: ...

    def set_state(self, state: State) -> None: ...


@runtime_checkable
class Smoothing(Protocol):
    """What happens to the scores before they become probabilities."""

    def __call__(self, scores: np.ndarray) -> np.ndarray: ...

    def observe(self, mean: float) -> None: ...

    def get_state(self) -> State: ...

    def set_state(self, state: State) -> None: ...
