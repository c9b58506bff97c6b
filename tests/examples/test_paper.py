"""The paper's experiments: their data and their networks."""

import keras
import numpy as np
import pytest

from examples import datasets
from examples.paper import data, networks
from examples.paper.experiments import EXPERIMENTS, GRID, TABLE
from examples.paper.results_file import Settings
from importance_sampling import ItemSource
from tests.loaders import available


@pytest.mark.parametrize(("name", "parameters"), [("mnist", 1_938_922), ("cifar10", 5_874_250), ("penn_treebank", 4_064_337)])
def test_the_networks_are_those_of_the_paper(name, parameters):
    assert getattr(networks, name)().count_params() == parameters


def kinds(model):
    """The layers by name of class, with what tells them apart."""
    told = {"Conv2D": "filters", "Dense": "units", "Dropout": "rate", "Embedding": "output_dim"}
    return [
        (kind, getattr(layer, told[kind])) if kind in told else kind for layer in model.layers for kind in [type(layer).__name__]
    ]


def test_the_layers_are_in_the_order_of_the_paper():
    """Section 4.1 to 4.3: where the dropout stands, and how much of it, does not show in the number of parameters."""
    pool, fully = ["MaxPooling2D", ("Dropout", 0.25)], [("Dropout", 0.5), ("Dense", 512), ("Dropout", 0.5), ("Dense", 10)]
    small = [layer for filters in (32, 64) for layer in (("Conv2D", filters), ("Conv2D", filters), *pool)]
    assert kinds(networks.mnist()) == [*small, "Flatten", ("Dense", 512), *fully]
    normal = "BatchNormalization"
    large = [layer for n in (64, 128, 256) for layer in (("Conv2D", n), normal, ("Conv2D", n), normal, *pool)]
    assert kinds(networks.cifar10()) == [*large, "Flatten", ("Dense", 1024), *fully]
    language = networks.penn_treebank()
    assert kinds(language) == [("Embedding", 64), "PackedLSTM", ("Dense", 10_001)]
    assert [(cell.units, dropout.rate) for cell, dropout in language.layers[1].parts] == [(256, 0.5)] * 2


def test_the_settings_are_those_of_the_paper():
    mnist, cifar10, ptb = (EXPERIMENTS[name] for name in ("mnist", "cifar10", "ptb"))
    assert [e.steps * e.full.epochs for e in (mnist, cifar10, ptb)] == [6_000, 50_100, 100_000]
    assert [len(e.full.seeds) for e in (mnist, cifar10, ptb)] == [10, 3, 3]
    assert (mnist.full.runs, mnist.table, cifar10.table, ptb.table) == (
        (*TABLE, ("approx", 0.75), ("oracle", 0.75)),
        (5, 10, 20),
        (50, 100, 150),
        (10, 30, 50),
    )
    assert set(TABLE) == {("uniform", 1.0), ("approx", 0.5), ("approx", 1.0), ("oracle", 0.5), ("oracle", 1.0)}
    assert set(cifar10.full.runs) == set(TABLE) and set(ptb.full.runs) == {*TABLE, ("pcg", 0.5), ("pcg", 1.0)}
    np.testing.assert_allclose(GRID, np.arange(0.001, 0.0101, 0.001))
    assert Settings("mnist", "uniform", 1.0, 0).batch_size == 128
    for experiment, added in ((mnist, 1.5), (cifar10, 1.5), (ptb, 0.5)):  # half the mean loss, which is 3; 0.5
        smoothing = experiment.smoothing()
        smoothing.observe(3.0)
        np.testing.assert_allclose(smoothing(np.array([1.0, 3.0])), np.array([1.0, 3.0]) + added)
    model = cifar10.compiled(1e-3)
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    for step, expected in ((0, 1e-3), (35_000, 1e-3), (35_001, 1e-4), (50_000, 1e-4)):
        model.optimizer.iterations.assign(step)
        assert float(model.optimizer.learning_rate) == pytest.approx(expected)


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def test_an_augmented_image_is_its_original_flipped_or_not_and_shifted():
    augmented = data.Augmented(IMAGES)
    assert len(augmented) == 60
    moved, flipped = set(), set()
    for i in range(60):
        original = IMAGES[i % 6].astype(np.float32) / 255
        padded = {flip: np.pad(original[:, ::flip], ((4, 4), (4, 4), (0, 0))) for flip in (1, -1)}
        places = [
            (flip, top, left)
            for flip in (1, -1)
            for top in range(9)
            for left in range(9)
            if np.array_equal(augmented[i], padded[flip][top : top + 8, left : left + 8])
        ]
        assert len(places) == 1  # one of all the transforms gives it
        flipped.add(places[0][0])
        moved.add(places[0][1:])
    assert flipped == {1, -1} and len(moved) > 30


def test_a_transform_belongs_to_its_sample_and_nothing_is_stored():
    one, other = data.Augmented(IMAGES), data.Augmented(IMAGES)
    np.testing.assert_array_equal(one[41], other[41])
    np.testing.assert_array_equal(one[41], one[41])
    assert not np.array_equal(one[5], one[11])  # another version of the same image
    assert ItemSource(one, np.tile(np.arange(6), 10))[np.array([7, 59])][0].shape == (2, 8, 8, 3)


@pytest.fixture
def sentences(monkeypatch):
    text = {"train": [["a", "b", "a"], ["c"]], "valid": [["b", "c"]], "test": []}
    monkeypatch.setattr(datasets, "penn_treebank", lambda: text)


def test_each_word_has_those_before_it_in_its_sentence(sentences):
    x, y, (x_valid, y_valid) = data.penn_treebank()
    end = 4  # after a = 1, b = 2, c = 3
    assert y.tolist() == [1, 2, 1, end, 3, end]
    assert x.shape == (6, 20)
    assert [row[row > 0].tolist() for row in x] == [[], [1], [1, 2], [1, 2, 1], [], [3]]
    assert x[3, -3:].tolist() == [1, 2, 1]
    assert y_valid.tolist() == [2, 3, end] and x_valid[2, -2:].tolist() == [2, 3]


def test_no_more_than_twenty_words_are_kept(monkeypatch):
    monkeypatch.setattr(datasets, "penn_treebank", lambda: {"train": [list("abcdefghijklmnopqrstuvwxyz")], "valid": [["a"]]})
    x, y, _ = data.penn_treebank()
    assert x[-1].tolist() == list(range(7, 27)) and y[-1] == 27


def test_cifar10_is_complete():
    (x, y), (x_test, y_test) = available("cifar10")
    assert x.shape == (50000, 32, 32, 3) and x_test.shape == (10000, 32, 32, 3) and x.dtype == np.uint8
    assert np.bincount(y).tolist() == [5000] * 10 and np.bincount(y_test).tolist() == [1000] * 10
    np.testing.assert_allclose(x.mean((0, 1, 2)) / 255, [0.49139968, 0.48215841, 0.44653091], rtol=1e-6)


def test_penn_treebank_is_complete():
    """The sizes that are published for it."""
    text = available("penn_treebank")
    assert {name: len(sentences) for name, sentences in text.items()} == {"train": 42068, "valid": 3370, "test": 3761}
    assert sum(map(len, text["train"])) + 42068 == 929_589
    x, y, _ = data.penn_treebank()
    assert len(y) == 929_589 and y.max() == 10_000 and x.max() < 10_000 and y.min() == 1
