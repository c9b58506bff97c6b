"""What each importance learns."""

import keras
import numpy as np
import pytest

from importance_sampling import LSTMImportance, Oracle, PerClassGaussian, Pool
from importance_sampling.model.loss_network import compiled, tensors
from tests.models import classifier


def pool(indices, labels=None):
    return Pool(np.asarray(indices), labels, read=None)


def rule(history, labels):
    """A loss that depends on the class and on the last two losses: 0.6 l_1 + 0.3 l_2 + class / 4."""
    return 0.6 * history[:, -1] + 0.3 * history[:, -2] + labels / 4


def test_the_lstm_learns_a_rule_better_than_the_mean_of_each_class():
    """On unseen samples its squared error is below a quarter of that of the per-class mean."""
    rng = np.random.default_rng(0)
    n = 2000
    labels = np.arange(n) % 4
    past = rng.uniform(0, 2, (n, 2)).astype(np.float32)
    targets = rule(past, labels)
    lstm, gaussian = LSTMImportance(history=4, units=16, jit_compile=False), PerClassGaussian(decay=1.0)
    for importance in (lstm, gaussian):
        importance.build(n, 4, seed=0)
    for column in past.T:
        lstm.losses.append(np.arange(n), column)
    train, test = np.arange(1000), np.arange(1000, n)
    for step in range(1500):
        batch = rng.choice(train, 64)
        state = lstm.losses.get_state() if step % 100 == 0 else state  # noqa: F821
        lstm.update(batch, labels[batch], targets[batch])
        lstm.losses.set_state(state)  # the rule is about the first two losses
        gaussian.update(batch, labels[batch], targets[batch])
    error = {
        name: np.mean((importance.score(pool(test, labels[test])) - targets[test]) ** 2)
        for name, importance in (("lstm", lstm), ("pcg", gaussian))
    }
    assert error["lstm"] < error["pcg"] / 4, error


@pytest.mark.parametrize("unit", [1, 1000, 1e-3])
def test_rare_classes_do_not_seem_easy_while_the_lstm_learns_how_large_losses_are(unit):
    """Classes as uneven as words, class c in proportion to 1 / (c + 1), and the rarer the harder: losses of 7 to 9 units.

    A network that starts from 0 scores the ten most frequent classes highest at every one of these steps. What the first
    batch leaves of the initial weights is noise.
    """
    rng = np.random.default_rng(0)
    classes = 500
    frequency = 1 / np.arange(1, classes + 1)
    labels = rng.choice(classes, 4000, p=frequency / frequency.sum())
    losses = ((7 + 2 * labels / classes) * unit).astype(np.float32)
    frequent, rare = labels < 10, labels >= 100
    lstm = LSTMImportance(history=4, units=8, embedding=8, jit_compile=False)
    lstm.build(len(labels), classes, seed=0)
    for step in range(1, 301):
        batch = rng.choice(len(labels), 64)
        lstm.update(batch, labels[batch], losses[batch])
        if step == 1:
            np.testing.assert_allclose(lstm.score(pool(np.arange(len(labels)), labels)), losses.mean(), rtol=0.15)
        if step % 50 == 0:
            score = lstm.score(pool(np.arange(len(labels)), labels))
            assert score[frequent].mean() < score[rare].mean(), f"step {step}"
            assert score.mean() == pytest.approx(losses.mean(), rel=0.05)


def test_the_lstm_learns_from_the_history_as_it_was():
    """The fit sees the history before the batch; the losses join it afterwards."""
    seen = []

    class Spy(LSTMImportance):
        def _inputs(self, *batch):
            losses, count, ids = super()._inputs(*batch)
            seen.append((losses.copy(), count.copy()))
            return losses, count, ids

    lstm = Spy(history=2, units=4, classes=0, jit_compile=False)
    lstm.build(3, None, seed=0)
    lstm.update(np.array([1, 1]), None, np.array([0.5, 0.25]))
    lstm.update(np.array([1, 2]), None, np.array([0.125, 0.75]))
    np.testing.assert_array_equal(seen[0][1], [0, 0])
    np.testing.assert_array_equal(seen[1][0], [[0.5, 0.25], [0, 0]])
    np.testing.assert_array_equal(lstm.losses.window([1])[0], [[0.25, 0.125]])


def test_the_lstm_ignores_what_lies_behind_the_count():
    """Against an LSTM of Keras run over the real entries only."""
    lstm = LSTMImportance(history=5, units=4, classes=0, jit_compile=False)
    lstm.build(4, None, seed=0)
    lstm.losses.append([1, 1, 2, 2, 2, 2, 2], [0.5, 0.0, 1, 2, 3, 4, 5])  # a true zero is an entry
    scores = compiled(lstm._sizes, False).predict(lstm._learnt.weights, *tensors(*lstm._inputs(np.arange(3), None))).numpy()
    network = lstm.network
    for i, count in enumerate([0, 2, 5]):
        losses = lstm.losses.window([i])[0][:, :count, None]
        state = np.zeros((1, 4)) if count == 0 else np.asarray(network._upper(network._lower(losses)))[:, -1]
        np.testing.assert_allclose(scores[i], np.asarray(network._linear(state))[0, 0], rtol=1e-5, atol=1e-6)


def test_a_compiled_lstm_predicts_and_learns_as_one_without_xla():
    scores = []
    for jit_compile in (False, True):
        lstm = LSTMImportance(history=2, units=4, jit_compile=jit_compile)
        lstm.build(8, 2, seed=0)
        for _ in range(20):
            lstm.update(np.arange(8), np.arange(8) % 2, 1.0 + np.arange(8) % 2)
        scores.append(lstm.score(pool(np.arange(8), np.arange(8) % 2)))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3)


def test_losses_that_are_not_finite_leave_the_lstm_alone():
    """A batch with NaN is learnt from as the batch without: weights, history and prediction stay finite."""
    scores = []
    for extra in ([], [np.nan, np.inf]):
        lstm = LSTMImportance(history=2, units=4, classes=0, jit_compile=False)
        lstm.build(8, None, seed=0)
        values = np.concatenate([np.arange(4.0), extra])
        for _ in range(5):
            lstm.update(np.arange(len(values)), None, values)
        scores.append(lstm.score(pool(np.arange(8))))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_the_lstm_has_the_size_of_the_paper():
    """Two LSTMs of 32 units, an embedding in R^32, one linear layer on 64 features."""
    lstm = LSTMImportance()
    lstm.build(100, 10, seed=0)
    cell = lambda inputs: 4 * 32 * (inputs + 32 + 1)  # noqa: E731
    assert lstm.network.count_params() == cell(1) + cell(32) + 10 * 32 + 64 + 1
    assert lstm.losses.length == 10


def test_the_lstm_leaves_names_policy_and_random_state_of_the_user_alone():
    import random

    random.seed(1)
    before = random.getstate()
    keras.utils.clear_session()
    lstm = LSTMImportance(history=2, units=4, jit_compile=False)
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        lstm.build(8, 2, seed=0)
        assert lstm.network.dtype_policy.name == "float32"
        assert {layer.compute_dtype for layer in lstm.network.layers} == {"float32"}
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert random.getstate() == before
    assert keras.layers.Dense(1).name == "dense"
    assert keras.layers.LSTM(1).name == "lstm"
    assert keras.layers.Embedding(1, 1).name == "embedding"


def test_the_gaussian_is_the_discounted_mean_of_each_class():
    gaussian = PerClassGaussian(decay=0.5)
    gaussian.build(10, 3, seed=0)
    np.testing.assert_allclose(gaussian.mean, 1)
    gaussian.update(None, np.array([0, 0, 2]), np.array([1.0, 3.0, 8.0]))
    gaussian.update(None, np.array([0, 0]), np.array([5.0, np.nan]))
    weights, values = np.array([0.5, 0.5, 1.0]), np.array([1.0, 3.0, 5.0])  # class 0, by hand; class 2 was not seen again
    mean = np.average(values, weights=weights)
    np.testing.assert_allclose(gaussian.mean[[0, 2]], [mean, 8.0])
    overall = (0.5 * 1 + 0.5 * 3 + 5 + 8) / 3
    np.testing.assert_allclose(gaussian.mean[1], overall)  # never seen
    np.testing.assert_allclose(gaussian.score(pool([0, 1], np.array([2, 0]))), [8.0, mean])


def test_the_oracle_scores_in_parts(blobs):
    """A pool that its batch size does not divide gives the scores of one pass."""
    from importance_sampling import ArraySource

    x, y = blobs
    model, data = classifier(), ArraySource(*blobs)
    whole = Pool(np.arange(50), None, read=lambda positions: data[positions])
    scores = Oracle(model, batch_size=16).score(whole)
    expected = keras.losses.sparse_categorical_crossentropy(y[:50], model(x[:50]))
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Oracle(None, quantity="los"), "`quantity` must be one of loss, gnorm, full_gnorm. Received: quantity='los'"),
        (lambda: Oracle(None, batch_size=0), "`batch_size` must be >= 1. Received: batch_size=0"),
        (lambda: LSTMImportance(history=0), "`history` must be >= 1. Received: history=0"),
        (lambda: LSTMImportance(units=-1), "`units` must be >= 1. Received: units=-1"),
        (lambda: LSTMImportance(embedding=0), "`embedding` must be >= 1. Received: embedding=0"),
        (lambda: LSTMImportance(classes=-1), "`classes` must be >= 0 or None. Received: classes=-1"),
        (lambda: LSTMImportance(learning_rate=0), "`learning_rate` must be > 0. Received: learning_rate=0"),
        (lambda: LSTMImportance(quantity="full_gnorm"), "`quantity` must be 'loss' or 'gnorm'. Received: quantity='full_gnorm'"),
        (lambda: LSTMImportance(classes=3).build(9, 5, 0), r"`y` must be class ids in \[0, 3\). Received: y=4"),
        (lambda: PerClassGaussian(decay=2), r"`decay` must be in \[0, 1\]. Received: decay=2"),
        (lambda: PerClassGaussian(quantity="x"), "`quantity` must be 'loss' or 'gnorm'. Received: quantity='x'"),
    ],
)
def test_bad_arguments_are_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()
