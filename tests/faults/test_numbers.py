"""Losses of every kind: whatever was measured, draws are made, weights are finite and bounded, and no sample stops training."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importance_sampling import ArraySource, HistoryImportance, ImportanceSampler, ImportanceTraining, PerClassGaussian, Pool
from importance_sampling.data.state_file import read_state, write_state
from importance_sampling.sampling.reweighting import rescaled
from importance_sampling.sampling.smoothing import additive, probabilities
from tests.models import classifier, small_lstm

N, SIZE = 400, 20
Y = np.arange(N) % 4
STRANGE = (0.0, 1.0, 1e-300, 1e30, 1e300, -1.0, -1e30, np.nan, np.inf, -np.inf)
IMPORTANCES = {
    "pcg": PerClassGaussian,
    "history": lambda: HistoryImportance(quantity="loss"),
    "by order": lambda: HistoryImportance(quantity="loss", pressure=100),
    "approx": small_lstm,
    "auto": lambda: "auto",
}


def sampler_of(importance="history", **more):
    return ImportanceSampler(ArraySource(np.zeros((N, 1)), Y), IMPORTANCES[importance](), presample=200, seed=0, **more)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(STRANGE), min_size=1, max_size=6),
    st.sampled_from(("pcg", "history", "by order", "auto")),
    st.sampled_from((1.0, 0.5, 0.0, -1.0)),
    st.sampled_from(("adaptive", "measured", 0.0, 0.5)),
)
def test_whatever_was_measured_draws_go_on(strange, importance, k, smoothing):
    """150 steps: enough that "auto" and "measured" have decided."""
    sampler = sampler_of(importance, k=k, smoothing=smoothing)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(150):
            draw = sampler.draw(SIZE)
            assert np.all(np.isfinite(draw.weights)) and np.all(draw.weights >= 0)
            assert np.all(draw.expected > 0) and draw.pool_expected.sum() == pytest.approx(SIZE)
            losses = rng.choice(strange, len(draw))
            sampler.update(draw, losses, np.abs(losses))


@pytest.mark.parametrize("losses", [0.0, 1.0, 1e-300, 1e30])
def test_equal_losses_are_drawn_equally(losses):
    """Of all zero, too: scores with a sum of zero say nothing."""
    sampler = sampler_of("history", k=1.0, smoothing=0.0)
    for _ in range(60):
        draw = sampler.draw(SIZE)
        sampler.update(draw, np.full(len(draw), losses))
    np.testing.assert_allclose(sampler.draw(SIZE).weights, 1.0, rtol=1e-5)


@given(st.lists(st.floats(0, 1e300), min_size=2, max_size=60), st.floats(1e-3, 1e3), st.sampled_from((1.0, 0.7, 0.0)))
def test_weights_are_bounded_as_the_docs_say(scores, c, k):
    """(1 + m / c)^k. A pool in which somebody has more than an eighth gives more to the others, never less."""
    scores = np.array(scores)
    p = probabilities(additive(c), scores, lambda *_: None)

    weights = rescaled(len(p) * p, np.arange(len(p)), k)
    assert np.all(np.log(weights[weights > 0]) <= k * np.log1p(scores.mean() / c) + 1e-9)


@given(st.lists(st.floats(0, 1e30), min_size=2, max_size=80))
def test_probabilities_keep_the_order_of_scores(scores):
    p = probabilities(additive(0.0), np.array(scores), lambda *_: None)
    assert p.sum() == pytest.approx(1) and np.all(p >= 0)
    ranks = np.argsort(scores, kind="stable")
    assert np.all(np.diff(p[ranks]) >= -1e-12)


@given(st.lists(st.floats(0.5, 1), min_size=60, max_size=80), st.lists(st.floats(100, 1e30), min_size=1, max_size=6))
def test_no_sample_has_more_than_an_eighth(scores, enormous):
    """One to six that are enormous; the others share what is left as ever."""
    scores = np.array([*scores, *enormous])
    p, others = probabilities(additive(0.0), scores, lambda *_: None), slice(0, len(scores) - len(enormous))
    assert p.max() <= 1 / 8 * (1 + 1e-9) and p.sum() == pytest.approx(1)
    np.testing.assert_allclose(p[others] / p[others].sum(), scores[others] / scores[others].sum())


@pytest.mark.parametrize("smoothing", ["adaptive", "measured", 0.0, 0.5])
def test_one_enormous_loss_does_not_stop_training(smoothing):
    """One of 400 loses 1e30 whenever it is seen; the others make up nine tenths of what is drawn."""
    sampler = sampler_of("history", k=1.0, smoothing=smoothing)
    drawn = np.zeros(N)
    for _ in range(300):
        draw = sampler.draw(SIZE)
        np.add.at(drawn, draw.indices, 1)
        sampler.update(draw, np.where(draw.indices == 7, 1e30, 1.0))
    assert drawn[7] < 0.1 * drawn.sum() and np.count_nonzero(drawn) == N


def test_a_model_learns_beside_a_sample_without_end():
    """Real steps: a target of 1e15 among those of a line, with the loss that one takes for outliers. The others are fitted."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 2)).astype(np.float32)
    y = (x @ [1.0, -2.0]).astype(np.float32)
    y[7] = 1e15
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), keras.losses.Huber())  # as one does with outliers
    ImportanceTraining(model, HistoryImportance(quantity="loss"), seed=0).fit(x, y, batch_size=SIZE, epochs=30, verbose=0)
    others = np.delete(np.arange(N), 7)
    error = model.predict(x[others], verbose=0)[:, 0] - y[others]
    assert np.median(np.abs(error)) < 0.2 < np.median(np.abs(y[others]))


def test_a_loss_that_is_nan_says_so_as_plain_keras_does():
    """An input that is NaN: the model's weights become NaN, in plain Keras too; the draws go on, with a warning of ours at most."""
    x, y = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32), Y % 3
    x[7] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        history = ImportanceTraining(classifier(), "history", seed=0).fit(x, y, batch_size=SIZE, epochs=3, verbose=0)
    assert np.isnan(history.history["loss"][-1])
    plain = classifier()
    assert np.isnan(plain.fit(x, y, batch_size=SIZE, epochs=3, verbose=0).history["loss"][-1])


@pytest.mark.parametrize("importance", ["pcg", "history", "approx", "auto"])
def test_classes_that_are_empty_or_new(importance):
    """Class 2 of 5 has no sample; of class 3 there is one, which is seen late."""
    labels = np.where(np.arange(N) % 2, 4, np.arange(N) % 4 // 2)
    labels[N - 1] = 3
    sampler = ImportanceSampler(ArraySource(np.zeros((N, 1)), labels), IMPORTANCES[importance](), presample=100, seed=0, classes=5)
    for _ in range(60):
        draw = sampler.draw(SIZE)
        assert np.all(np.isfinite(draw.weights))
        sampler.update(draw, 1.0 + draw.labels, 1.0 + draw.labels)


UPDATES = st.lists(
    st.lists(st.tuples(st.integers(0, 39), st.sampled_from((0.5, 1.0, 3.0, *STRANGE))), min_size=1, max_size=12), max_size=8
)


@settings(deadline=None, max_examples=40)
@given(before=UPDATES, after=UPDATES, name=st.sampled_from(("pcg", "history", "by order")))
def test_what_was_learnt_comes_back_from_a_file(before, after, name, tmp_path_factory):
    """Any updates, a file, a new object, and any more: scores are the same to the last bit."""
    path = tmp_path_factory.mktemp("state") / "state.h5"
    labels = np.arange(40) % 4
    one, other = IMPORTANCES[name](), IMPORTANCES[name]()
    for importance in (one, other):
        importance.build(40, 4, seed=0)

    def learn(importances, updates):
        for update in updates:
            indices, values = np.array([i for i, _ in update]), np.array([value for _, value in update])
            with np.errstate(all="ignore"):
                for importance in importances:
                    importance.update(indices, labels[indices], values)

    learn([one], before)
    write_state(path, one.get_state())
    other.set_state(read_state(path))
    learn([one, other], after)
    pool = Pool(np.arange(40), labels, None)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(one.score(pool), other.score(pool))
    np.testing.assert_equal(one.get_state(), other.get_state())
