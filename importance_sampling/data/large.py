"""Arrays with an entry for every sample: in memory, or in a file where the data are too many for that."""

import contextlib
import contextvars
import os
import tempfile

import numpy as np

from importance_sampling.arguments import is_path

_CHUNK = 1 << 22  # entries written at once
_only_written = contextvars.ContextVar("only_written", default=False)


def filled(shape, value, dtype, directory=None):
    """An array of equal entries.

    Args:
        shape: tuple of ints.
        value: what each entry is.
        dtype: of numpy.
        directory: None keeps the array in memory. Else it is mapped from a file there, which has no name, is seen by nobody else
            and is gone with the array, also if the process is killed.

    Raises:
        OSError: there is no room for the file; nothing is left of it.

    Example:
        >>> array = filled((3,), np.nan, np.float32, directory=".")
        >>> array[1] = 2
        >>> array.tolist()
        [nan, 2.0, nan]
    """
    if directory is None:
        return np.full(shape, value, dtype)
    count = int(np.prod(shape, dtype=np.int64))
    chunk = np.full(min(count, _CHUNK), value, dtype)
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            for start in range(
                0, count, _CHUNK
            ):  # written and not left out: a mapped file that finds no room later kills the process
                file.write(chunk[: count - start])
            file.flush()
            return np.memmap(file, dtype, "r+", shape=shape) if count else np.full(shape, value, dtype)
    except OSError as error:
        needed = f"`directory` must have room for {count * chunk.itemsize:,} bytes. Received: {directory!r}, {error.strerror}"
        raise OSError(error.errno, needed) from error


def kept(array):
    """An array for a state: a copy, or, where the state is `only_written`, the array itself."""
    return array if _only_written.get() else np.array(array)


@contextlib.contextmanager
def only_written():
    """A context for a state that is written to a file before anything changes: no second copy of what may be large."""
    token = _only_written.set(True)
    try:
        yield
    finally:
        _only_written.reset(token)


def checked_directory(directory, size=0):
    """Refuses a directory for such files that there is none of; `size` None, where the number of samples is not known.

    Raises:
        ValueError: see above.
    """
    if directory is None:
        return None
    if not (is_path(directory) and os.path.isdir(directory)):
        raise ValueError(f"`directory` must be None or a directory that exists. Received: directory={directory!r}")
    if size is None:
        raise ValueError(
            f"`directory` must be None where the number of samples is not known before. Received: directory={directory!r}"
        )
    return os.fspath(directory)
