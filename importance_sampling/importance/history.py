"""The last losses of every sample: the history H_t of section 3.3 (arXiv:1706.00043)."""

import numpy as np

from importance_sampling.arguments import whole_number
from importance_sampling.data.large import checked_directory, filled, kept
from importance_sampling.types import State

_LARGEST = 10**9  # samples; above that an index is more likely a hash than a place


class LossHistory:
    """A ring buffer of the last H losses of each of N samples.

    Memory is `4 H + 4` bytes a sample. What is a real entry is decided by a count, not by value: a loss of 0 counts.

    Args:
        size (int or None): N, the number of samples, >= 1; None makes room for the largest index that is met, below 10^9.
        length (int, default 10): H, how many losses are kept of each, >= 1. The paper keeps 10.
        directory (path, default None): where all is kept in files in place of memory, which have no names and are gone with this
            object; needs a `size`.

    Raises:
        ValueError: `size` or `length` is below 1, or the directory does not exist.
        OSError: there is no room in it.

    Example:
        >>> history = LossHistory(size=4, length=3)
        >>> history.append([2, 0, 2], [0.5, 0.0, 0.25])
        >>> losses, count = history.window([2, 0, 1])
        >>> losses
        array([[0.5 , 0.25, 0.  ],
               [0.  , 0.  , 0.  ],
               [0.  , 0.  , 0.  ]], dtype=float32)
        >>> count
        array([2, 1, 0], dtype=int32)
    """

    def __init__(self, size, length=10, directory=None):
        whole_number("size", size, least=1, or_none=True)
        self._grows = size is None
        self.length = whole_number("length", length, least=1)
        directory = checked_directory(directory, size)
        self._losses = filled((size or 0, self.length), 0, np.float32, directory)  # (N, H), slot = time modulo H
        self._seen = filled((size or 0,), 0, np.int32, directory)  # (N,), losses ever stored

    @property
    def size(self):
        """N, the number of samples there is room for."""
        return len(self._seen)

    @property
    def nbytes(self):
        """Bytes held for all samples together."""
        return self._losses.nbytes + self._seen.nbytes

    def append(self, indices, losses):
        """Stores one loss for each index, in order; an index that occurs twice stores both of its losses.

        The cost depends on the number of indices alone. A loss that is not finite is left out.

        Args:
            indices: `(b,)` ints in [0, N).
            losses: `(b,)` floats.

        Raises:
            ValueError: the lengths differ.
            IndexError: an index is outside [0, N), or no such history could be kept.
        """
        indices = self._checked(indices)
        losses = np.asarray(losses, np.float32)
        if losses.shape != indices.shape:
            raise ValueError(
                f"`losses` must have one value for each index. Received: losses.shape={losses.shape}, indices.shape={indices.shape}"
            )
        finite = np.isfinite(losses)
        indices, losses = indices[finite], losses[finite]

        order = np.argsort(indices, kind="stable")  # equal indices side by side, oldest first
        indices, losses = indices[order], losses[order]
        unique, start, count = np.unique(indices, return_index=True, return_counts=True)
        rank = np.arange(len(indices)) - np.repeat(start, count)  # 0, 1, ... among equal indices
        kept = rank >= np.repeat(count, count) - self.length  # more than H at once: only the last H survive
        slot = (self._seen[indices] + rank) % self.length
        self._losses[indices[kept], slot[kept]] = losses[kept]
        self._seen[unique] += count.astype(np.int32)

    def has(self, indices):
        """`(n,)` bools, whether any loss was stored of those samples."""
        indices = self._checked(indices)  # may make room
        return self._seen[indices] > 0

    def window(self, indices):
        """The stored losses of some samples.

        Args:
            indices: `(n,)` ints in [0, N).

        Returns:
            `(n, H)` float32, each row oldest to newest from the left, zeros behind; and `(n,)` int32, how many entries
            of each row are real.

        Raises:
            IndexError: an index is outside [0, N), or no such history could be kept.
        """
        indices = self._checked(indices)
        seen = self._seen[indices]
        count = np.minimum(seen, self.length)
        age = np.arange(self.length)
        known = np.flatnonzero(count)  # of the others nothing is read, which may be in a file
        begin, among = (seen - count)[known, None], count[known, None]
        losses = np.zeros((len(indices), self.length), np.float32)
        slot = (begin + age) % self.length  # (n, H)
        losses[known] = np.where(age < among, self._losses[indices[known, None], slot], np.float32(0))
        return losses, count

    def get_state(self) -> State:
        return {"losses": kept(self._losses), "seen": kept(self._seen)}

    def set_state(self, state):
        """Restores what `get_state` returned.

        Raises:
            ValueError: the state is of another size or length.
        """
        losses = np.asarray(state["losses"], np.float32)
        if losses.shape[1:] != self._losses.shape[1:] or not (self._grows or len(losses) == self.size):
            raise ValueError(f"`state` must be of a history of shape {self._losses.shape}. Received: shape={losses.shape}")
        if losses.shape == self._losses.shape:
            self._losses[:], self._seen[:] = losses, state["seen"]
        else:
            self._losses, self._seen = losses.copy(), np.array(state["seen"], np.int32)

    def _checked(self, indices):
        indices, size = checked(indices, len(self._seen), self._grows)
        missing = size - len(self._seen)
        if missing:
            self._losses = np.pad(self._losses, ((0, missing), (0, 0)))
            self._seen = np.pad(self._seen, (0, missing))
        return indices


def checked(indices, size, grows):
    """Indices of samples, `(n,)` int64, and how many samples there must be room for: the size, unless it grows.

    Raises:
        ValueError: the indices have not one dimension.
        IndexError: one is outside [0, size), or so large that there could not be so many samples.
    """
    indices = np.asarray(indices, np.int64)
    if indices.ndim != 1:
        raise ValueError(f"`indices` must have one dimension. Received: indices.shape={indices.shape}")
    limit, largest = _LARGEST if grows else size, int(indices.max(initial=-1))
    if len(indices) and not (indices.min() >= 0 and largest < limit):
        outside = indices[(indices < 0) | (indices >= limit)][0]
        raise IndexError(f"`indices` must be in [0, {limit}). Received: {outside}")
    missing = largest + 1 - size
    return indices, size + max(missing, size) if missing > 0 else size  # at least doubled, so that growing costs little
