"""A state in one file: HDF5, written whole or not at all, and read only if every byte is as it was written.

The file begins with a line of its own, in the space that HDF5 leaves to its users: what it is, how long it is, and a digest of all
that follows. HDF5 itself sees only files whose digest is right.
"""

import contextlib
import hashlib
import os
import secrets
import shutil

import h5py
import numpy as np

from importance_sampling.data.calm_file import CalmFile
from importance_sampling.data.large import only_written
from importance_sampling.types import State

_MAGIC = b"importance_sampling state 1 "
_HEADER = 512  # bytes, the smallest that HDF5 leaves free
_CHUNK = 1 << 24  # bytes read or written at once
_DEPTH = 32  # of nested dictionaries


class StateFileError(ValueError):
    """A file that is no state, or a damaged one. Its text names the file, and the one before it, if that is still there."""


class Saved:
    """`save_state` and `load_state` of an object that has `get_state` and `set_state`."""

    def save_state(self, path):
        """Writes `get_state` to a file, whole or not at all; the one before is kept as `<path>.previous`.

        Raises:
            ValueError: there is no state yet.
            OSError: the file cannot be written; what was there is as it was.
        """
        with only_written():
            write_state(path, self.get_state())

    def load_state(self, path):
        """Does what `set_state` does, from a file that `save_state` wrote.

        Raises:
            StateFileError: a ValueError; it is no such file, or damaged. Says which one is the one before it.
        """
        self.set_state(read_state(path))


def write_state(path, state: State):
    """Writes a state, whole or not at all: a file beside it takes its place when done. The one before is kept as `<path>.previous`.

    Args:
        path: of the file.
        state: nested dictionaries of numpy arrays, numbers, strings and None, with strings as keys.

    Raises:
        OSError: it cannot be written; what was there before is as it was.
        ValueError: there is something in the state that is none of these.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = os.path.join(directory, "state.h5")
        ...     write_state(path, {"step": 3, "means": np.arange(3.0)})
        ...     read_state(path)
        {'means': array([0., 1., 2.]), 'step': 3}
    """
    path = os.path.abspath(os.fspath(path))
    part = f"{path}.{secrets.token_hex(4)}.part"  # with the rights that a new file of the user has
    try:
        with open(part, "x+b") as file:
            for_hdf5 = CalmFile(file)
            with h5py.File(for_hdf5, "w", userblock_size=_HEADER, track_order=True) as opened:
                _write(opened, state, "state")
            for_hdf5.check()
            file.flush()
            header = _MAGIC + f"{os.path.getsize(part)} {_digest(file)}\n".encode()
            file.seek(0)
            file.write(header)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            _keep(path)
        os.replace(part, path)
        _sync(os.path.dirname(path))
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"`path` could not be written. Received: {path!r}, {error.strerror}") from error
        raise


def read_state(path) -> State:
    """Reads what `write_state` wrote.

    Raises:
        StateFileError: the file is no such state, or not as it was written.
        OSError: it cannot be read at all.
    """
    path = os.path.abspath(os.fspath(path))
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = file.read(_HEADER)
        if not header.startswith(_MAGIC):
            raise _refused(path, "no state of this library, or of a version that is not known")
        if header.rstrip(b"\0") != _MAGIC + f"{size} {_digest(file)}\n".encode():
            raise _refused(path, "damaged: it is not as it was written")
    try:
        with h5py.File(path, "r") as file:
            return _read(file, _Budget(size), 0)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError, RecursionError, MemoryError) as error:
        raise _refused(path, f"damaged: {type(error).__name__}, {error}") from error


def previous(path):
    """Where the state before is kept."""
    return os.path.abspath(os.fspath(path)) + ".previous"


def _write(group, state, place):
    for name, value in state.items():
        where = f"{place}[{name!r}]"
        if not isinstance(name, str) or "/" in name or not name:
            raise ValueError(f"`state` must have keys that are strings without a slash. Received: {where}")
        if isinstance(value, dict):
            _write(group.create_group(name, track_order=True), value, where)
        elif isinstance(value, np.ndarray):
            if value.dtype.kind not in "biuf":
                raise ValueError(f"`state` must have arrays of numbers. Received: {value.dtype} in {where}")
            _write_array(group.create_dataset(name, value.shape, value.dtype), value)
        elif isinstance(value, (bool, np.bool_, str, float, np.floating, int, np.integer)) or value is None:
            kind = {np.bool_: "bool", np.floating: "float", np.integer: "int"}
            tag = next((text for base, text in kind.items() if isinstance(value, base)), type(value).__name__)
            group.attrs[name] = f"{tag} {float(value).hex() if tag == 'float' else value}"  # integers may have more than 64 bits
        else:
            raise ValueError(f"`state` must have arrays, numbers, strings and None. Received: {type(value).__name__} in {where}")


def _write_array(dataset, array):
    if array.ndim == 0 or not array.size:
        dataset[...] = array
        return
    rows = max(1, _CHUNK // max(array[:1].nbytes, 1))
    for start in range(0, len(array), rows):  # without another copy of the whole
        dataset[start : start + rows] = array[start : start + rows]


class _Budget:
    """Bytes that may still be read: no more than the file has."""

    def __init__(self, left):
        self._left = left

    def allows(self, size):
        self._left -= size
        return self._left >= 0


def _read(group, budget, depth):
    if depth > _DEPTH:
        raise ValueError(f"more than {_DEPTH} levels")
    found = {}
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"a link to something else, {name}")
        item = group[name]
        if h5py.h5o.get_info(item.id).rc != 1:
            raise ValueError(f"something with several names, {name}")
        if isinstance(item, h5py.Group):
            found[name] = _read(item, budget, depth + 1)
        elif _is_plain(item) and budget.allows(item.nbytes):
            found[name] = item[...]
        else:
            raise ValueError(f"an array that is larger than the file, or of another kind, {name}")
    read = {"int": int, "float": float.fromhex, "bool": "True".__eq__, "str": str, "NoneType": lambda text: None}
    for name, value in group.attrs.items():
        kind, _, text = value.partition(" ")
        found[name] = read[kind](text)
    return found


def _is_plain(dataset):
    """Numbers, in one piece, in this file."""
    numbers = dataset.dtype.kind in "biuf"
    return numbers and dataset.chunks is None and dataset.external is None and not dataset.is_virtual


def _digest(file):
    """Of all that follows the header of an open file."""
    file.seek(_HEADER)
    digest = hashlib.blake2b(digest_size=32)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _keep(path):
    """Gives a file its second name, without a moment in which it has none."""
    other = previous(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(other + ".part")
    try:
        os.link(path, other + ".part")
    except OSError:  # some file systems have no second names
        shutil.copyfile(path, other + ".part")
    os.replace(other + ".part", other)


def _sync(directory):
    """Makes renamed files outlive a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refused(path, what):
    kept = previous(path)
    hint = f" The one before it is {kept!r}." if os.path.exists(kept) else ""
    return StateFileError(f"`path` must be a state that was written whole. Received: {path!r}, {what}.{hint}")
