"""The weighted data set reads what was drawn, and nothing else."""

import numpy as np
import pytest

from importance_sampling import ArraySource, Draw, ImportanceSampler, weighted_dataset
from importance_sampling.data.dataset import HeldOut


class Counting(ArraySource):
    """Notes every index that is read."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.read = []

    def __getitem__(self, indices):
        self.read.append(np.array(indices))
        return super().__getitem__(indices)


def draw_of(*indices):
    n = len(indices)
    weights = np.arange(1.0, n + 1, dtype=np.float32)
    return Draw(np.array(indices), None, np.full(n, 1 / n), weights, np.ones(n), n)


def test_only_the_chosen_samples_are_read():
    source = Counting(np.arange(2000.0).reshape(1000, 2), np.arange(1000) % 5)
    sampler = ImportanceSampler(source, "pcg", presample=500, seed=0)
    draws = []

    def three():
        for _ in range(3):
            draws.append(sampler.draw(4))
            yield draws[-1]

    dataset = weighted_dataset(source, three)
    source.read.clear()  # one sample was read to learn shapes and types
    batches = list(dataset)
    assert len(batches) == 3
    np.testing.assert_array_equal(np.concatenate(source.read), np.concatenate([draw.indices for draw in draws]))
    for (x, y, weights), draw in zip(batches, draws):
        np.testing.assert_array_equal(x[:, 0], 2 * draw.indices)
        np.testing.assert_array_equal(y, draw.indices % 5)
        np.testing.assert_array_equal(weights[:, 0], draw.weights)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 4)])
def test_the_users_weights_are_multiplied_in(shape):
    own = np.random.default_rng(0).uniform(size=shape)
    source = ArraySource(np.zeros((6, 2)), np.zeros(6), own)
    ((_, _, weights),) = list(weighted_dataset(source, lambda: iter([draw_of(2, 5, 2)])))
    expected = own.reshape(6, -1)[[2, 5, 2]] * np.array([[1.0], [2.0], [3.0]])
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_samples_are_read_from_the_source_that_is_given():
    """Here the same samples in another form."""
    source = ArraySource(10 * np.arange(6.0).reshape(6, 1), np.arange(6))
    sampler = ImportanceSampler(ArraySource(np.arange(6.0).reshape(6, 1), np.arange(6)), "uniform", seed=0)
    draw = sampler.draw(2)
    ((x, y, _),) = list(weighted_dataset(source, lambda: iter([draw])))
    np.testing.assert_array_equal(x[:, 0], 10 * draw.indices)
    np.testing.assert_array_equal(y, draw.indices)


def test_floats_become_floatx_and_integers_stay():
    source = ArraySource({"a": np.zeros((6, 2)), "b": [np.zeros((6, 1), np.uint8)]}, np.zeros(6, np.int64))
    ((x, y, _),) = list(weighted_dataset(source, lambda: iter([draw_of(0, 1)])))
    assert (x["a"].dtype, x["b"][0].dtype, y.dtype) == ("float32", "uint8", "int64")


def test_validation_data_come_once_in_their_order():
    source = ArraySource(np.arange(10.0).reshape(10, 1), np.arange(10))
    dataset = HeldOut().dataset(source, 4)
    assert int(dataset.cardinality()) == 3
    for _ in range(2):
        assert [list(y) for _, y in dataset.as_numpy_iterator()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_validation_data_without_targets_keep_their_weights():
    source = ArraySource(np.arange(3.0).reshape(3, 1), None, np.array([1.0, 2.0, 3.0]))
    ((x, y, weights),) = list(HeldOut().dataset(source, 4))
    assert x.shape == (3, 1) and y is None
    np.testing.assert_array_equal(weights, [1, 2, 3])
