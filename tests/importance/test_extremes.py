"""Losses that are negative, huge or of another unit; data without classes."""

import warnings

import keras
import numpy as np
import pytest

from importance_sampling import ArraySource, ImportanceSampler, ImportanceTraining, LSTMImportance, PerClassGaussian, Pool
from tests.models import L, small_lstm

RNG = np.random.default_rng(0)


def compiled(*layers, loss="mse", **compiling):
    model = keras.Sequential(layers)
    model.compile("sgd", loss, **compiling)
    return model


def test_losses_that_are_negative_count_as_none():
    """Learning means of -1 for most: adaptive smoothing takes nothing away, no probability is negative, and there is one warning,
    of the losses or of the scores that are learnt from them."""
    sampler = ImportanceSampler(ArraySource(np.zeros((40, 1)), np.zeros(40)), PerClassGaussian(), presample=40, seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(20):
            draw = sampler.draw(10)
            assert np.all(draw.expected >= 0) and np.all(draw.weights > 0)
            sampler.update(draw, np.where(draw.indices % 4, -3.0, 5.0))
    assert [str(warning.message)[:16] for warning in caught] == ["A negative loss "]


def test_a_negative_score_counts_as_none_and_takes_nothing_from_the_others():
    class Given(PerClassGaussian):
        def score(self, pool):
            return np.array([-5.0, 0.0, 1.0, 3.0])

    sampler = ImportanceSampler(ArraySource(np.zeros((4, 1)), np.zeros(4)), Given(), smoothing=1.0, presample=4, seed=0)
    with pytest.warns(RuntimeWarning, match="A negative loss is treated as 0. Received: loss=-5"):
        draw = sampler.draw(3)
    np.testing.assert_allclose(draw.expected, 3 * np.array([1, 1, 2, 4])[draw.indices] / 8)


def test_a_huge_loss_does_not_spoil_the_lstm():
    """After one loss of 1e25 and some clean batches it tells easy from hard again."""
    lstm = LSTMImportance(history=2, units=8, jit_compile=False)
    lstm.build(20, 2, seed=0)
    labels = np.arange(20) % 2
    for step in range(400):
        values = 0.5 + labels.astype(float)
        if step == 5:
            values[3] = 1e25
        lstm.update(np.arange(20), labels, values)
    scores = lstm.score(Pool(np.arange(20), labels, None))
    assert np.all(np.isfinite(scores)) and scores[labels == 1].min() > 2 * scores[labels == 0].max()


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_the_unit_of_the_loss_does_not_matter_to_the_lstm(unit):
    """Losses of 0.5 and 1.5 units are told apart in every unit, within a quarter of the truth."""
    lstm = LSTMImportance(history=2, units=8, jit_compile=False)
    lstm.build(20, 2, seed=0)
    labels = np.arange(20) % 2
    for _ in range(500):
        lstm.update(np.arange(20), labels, unit * (0.5 + labels))
    np.testing.assert_allclose(lstm.score(Pool(np.arange(20), labels, None)), unit * (0.5 + labels), rtol=0.25)


@pytest.mark.parametrize("targets", [lambda total: total, lambda total: np.round(5 * total) + 50], ids=["real", "whole"])
def test_approx_does_without_classes_in_a_regression(targets):
    """The LSTM has no embedding then, whether it is told or finds out."""
    x = RNG.normal(size=(200, 2)).astype("float32")
    y = targets(x.sum(axis=1))
    for classes in (None, 0):
        model = compiled(keras.Input((2,)), L.Dense(1))
        own = LSTMImportance(classes=classes, history=2, units=4, jit_compile=False)
        training = ImportanceTraining(model, own, presample=50, seed=0)
        history = training.fit(x, y, batch_size=20, epochs=5, verbose=0)
        assert history.history["loss"][-1] < history.history["loss"][0]
        assert not any("embedding" in w.path for w in training.sampler.importance.network.weights)
    with pytest.raises(ValueError, match="`y` must be class ids|`importance` must do without classes"):
        ImportanceTraining(compiled(keras.Input((2,)), L.Dense(1)), "pcg").fit(x, y, verbose=0)


def test_the_sampler_alone_finds_out_too():
    assert ImportanceSampler(ArraySource(np.zeros((9, 1)), RNG.normal(size=9)), small_lstm()).draw(4).labels is None
    assert ImportanceSampler(ArraySource(np.zeros((9, 1)), np.arange(9)), small_lstm(), classes=0).draw(4).labels is None
    assert ImportanceSampler(ArraySource(np.zeros((9, 1)), np.arange(9)), small_lstm()).draw(4).labels is not None
    with pytest.raises(ValueError, match="`importance` must do without classes on data that have none"):
        ImportanceSampler(ArraySource(np.zeros((9, 1)), np.arange(9)), "pcg", classes=0)


def test_numbers_too_large_for_class_ids_are_refused():
    with pytest.raises(ValueError, match=r"below max\(100000, number of samples\) = 100000. Received: y=300000"):
        ImportanceSampler(ArraySource(np.zeros((40, 1)), np.arange(40) * 0 + 300_000), "pcg")


def test_uniform_importance_among_more_candidates_than_needed_takes_different_ones():
    sampler = ImportanceSampler(ArraySource(np.zeros((40, 1)), np.zeros(40)), "uniform", seed=0)
    draw = sampler.choose(Pool(np.arange(30), None, read=lambda rows: None), 20)
    assert len(set(draw.indices)) == 20
    np.testing.assert_array_equal(draw.weights, 1)
