"""Every kind of object that gives samples or batches, and the real data."""

import h5py
import keras
import numpy as np
import pytest

from examples import cache, datasets


def available(name):
    """A real data set by its name in `examples.datasets`, or the test is skipped."""
    if name == "cifar10" and not (cache.cache_folder() / "cifar10.npz").exists():
        pytest.skip("139 MB: only where they are in the cache already; python -m examples.paper cifar10 fetches them")
    try:
        return getattr(datasets, name)()
    except datasets.DataUnavailable as error:
        pytest.skip(str(error))


class Batches(keras.utils.PyDataset):
    """Batches of `size` samples, the last smaller; counts its passes."""

    def __init__(self, x, y, size, **settings):
        super().__init__(**settings)
        self.x, self.y, self.size, self.passes = x, y, size, 0

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, i):
        part = slice(i * self.size, (i + 1) * self.size)
        return self.x[part], self.y[part]

    def on_epoch_end(self):
        self.passes += 1


class Items:
    """The samples of a data loader of some other library."""

    def __init__(self, *columns):
        self.columns, self.read = columns, []

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, i):
        assert isinstance(i, int)
        self.read.append(i)
        return tuple(column[i] for column in self.columns) if len(self.columns) > 1 else self.columns[0][i]


class Table:
    """Rows of dictionaries, with whole columns by name, as data sets of other libraries give them."""

    def __init__(self, x, y):
        self.columns = {"x": x, "target": y}

    def __len__(self):
        return len(self.columns["x"])

    def __getitem__(self, key):
        return self.columns[key] if isinstance(key, str) else {name: column[key] for name, column in self.columns.items()}


class Loader:
    """Gives batches as lists, again and again."""

    def __init__(self, x, y, size):
        self.batches = Batches(x, y, size)

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return (list(self.batches[i]) for i in range(len(self)))


def generator(x, y, size):
    while True:
        yield from map(tuple, Loader(x, y, size))


def on_disk(folder, x, y):
    with h5py.File(folder / "data.h5", "w") as file:
        file["x"], file["y"] = x, y
    file = h5py.File(folder / "data.h5")
    return file["x"], file["y"]


def memory_map(folder, x, y):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r"), y


def frames(folder, x, y):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(x), pandas.Series(y)
