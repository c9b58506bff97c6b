"""What each importance learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import LSTMImportance, Oracle, PerClassGaussian, Pool
from importance_sampling.model.loss_network import LossNetwork, Sizes, start
from importance_sampling.model.loss_steps import compiled, tensors
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
    lstm, gaussian = LSTMImportance(history=4, units=16, cached=False, jit_compile=False), PerClassGaussian(decay=1.0)
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


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_what_is_compiled_computes_what_the_network_of_keras_does(classes, jit_compile):
    """Predictions, and the gradient of the mean squared error over the known targets, a tenth of which is Adam's first moment."""
    rng = np.random.default_rng(0)
    sizes = Sizes(history=4, units=3, embedding=2, classes=classes)
    network = LossNetwork(sizes, seed=0)
    network.set_weights([w + rng.normal(0, 0.3, w.shape) for w in network.get_weights()])
    learnt = start(network, learning_rate=1e-3)
    losses, targets = rng.random((40, 4)).astype(np.float32), rng.random(40).astype(np.float32)
    count, ids = rng.integers(0, 5, 40).astype(np.int32), rng.integers(0, max(classes, 1), 40).astype(np.int32)
    known = (np.arange(40) % 3 > 0).astype(np.float32)
    functions = compiled(sizes, jit_compile)
    predicted = functions.predict(learnt.weights, *tensors(losses, count, ids))
    np.testing.assert_allclose(predicted, network(losses, count, ids), atol=1e-6)
    with tf.GradientTape() as tape:
        error = tf.reduce_sum(known * tf.square(network(losses, count, ids) - targets)) / known.sum()
    gradient = [tf.convert_to_tensor(g) for g in tape.gradient(error, [w.value for w in network.trainable_variables])]
    expected = np.concatenate([np.ravel(g) for g in gradient])
    found = functions.fit(learnt, *tensors(losses, count, ids, targets, known))
    np.testing.assert_allclose(found.momentum.numpy() / 0.1, expected, atol=1e-6)
    assert np.abs(expected).max() > 0.1


def test_a_compiled_lstm_predicts_and_learns_as_one_without_xla():
    scores = []
    for jit_compile in (False, True):
        lstm = LSTMImportance(history=2, units=4, jit_compile=jit_compile)
        lstm.build(8, 2, seed=0)
        for _ in range(20):
            lstm.update(np.arange(8), np.arange(8) % 2, 1.0 + np.arange(8) % 2)
        scores.append(lstm.score(pool(np.arange(8), np.arange(8) % 2)))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3)


def trained(batches, **settings):
    """An LSTM that has learnt from the first half of 600 samples of 3 classes, and the labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    lstm = LSTMImportance(history=4, units=4, jit_compile=False, **settings)
    lstm.build(600, 3, seed=0)
    for _ in range(batches):
        batch = rng.choice(300, 20, replace=False)
        lstm.score(pool(np.arange(600), labels))
        lstm.update(batch, labels[batch], rng.random(20) + labels[batch])
    return lstm, labels


def fresh(lstm, indices, labels):
    """The predictions for these samples by the network of Keras, as it is now."""
    losses, count = lstm.losses.window(indices)
    return np.maximum(lstm.network(losses, count, labels[indices].astype(np.int32)), 0)


def test_cached_and_fresh_predictions_agree_where_nothing_changed():
    """After 512 batches the network stays until the 528th, so all is true that was asked for since, or was trained on since."""
    lstm, labels = trained(512)
    everything = np.arange(600)
    lstm.score(pool(everything, labels))
    for batch in (np.arange(5), np.arange(295, 300)):  # one learns, one does not
        lstm.update(batch, labels[batch], np.ones(5))
        seen = lstm.score(pool(everything, labels))
        lstm._of_seen.forget_all()
        np.testing.assert_array_equal(seen[batch], lstm.score(pool(batch, labels[batch])))
    np.testing.assert_allclose(lstm.score(pool(everything, labels)), fresh(lstm, everything, labels), atol=1e-6)


def test_a_cached_prediction_stays_until_something_else_is_measured_or_its_turn_comes():
    """Of 600 samples 16 are trained on and one is renewed in turn with each batch."""
    lstm, labels = trained(512)
    everything = np.arange(600)
    before = lstm.score(pool(everything, labels))
    lstm._of_seen._next = 100  # whose turn it is
    lstm.update(np.arange(16), labels[:16], np.full(16, 2.0))  # which the network learns from
    after = lstm.score(pool(everything, labels))
    seen = np.arange(300)
    changed = np.flatnonzero(before[seen] != after[seen])
    assert set(changed) == {*range(16), 100}
    np.testing.assert_allclose(after[changed], fresh(lstm, changed, labels), atol=1e-6)
    np.testing.assert_allclose(after[300:], fresh(lstm, everything[300:], labels), atol=1e-6)  # not seen: by class, always new


def test_of_a_large_pool_the_predictions_furthest_off_are_made_anew_and_the_others_kept():
    """4 are predicted at once, so 20 of 600 are: 4 whose turn it is, and 16 of the 40 that were trained on in two batches."""
    lstm, labels = trained(512)
    lstm.prepare(4, 20)
    everything = np.arange(600)
    for _ in range(50):  # until nothing is in doubt
        lstm.score(pool(everything, labels))
    assert len(lstm._of_seen.most_doubtful(everything, 600)) == 0
    lstm._of_seen._next = 100
    off = np.random.default_rng(0).permutation(np.linspace(0.1, 2, 40))
    for part in (np.arange(20), np.arange(20, 40)):
        lstm._updates += lstm._updates % 16 == 0  # it learns from neither, so that nothing else changes
        lstm.update(part, labels[part], lstm._of_seen.of(part) + off[part])
    before = lstm._of_seen.of(everything)
    after = lstm.score(pool(everything, labels))
    expected = np.array([*range(100, 104), *np.argsort(off)[-16:]])
    changed = np.flatnonzero(lstm._of_seen.of(np.arange(300)) != before[:300])
    assert set(changed) == set(expected)
    np.testing.assert_allclose(after[expected], fresh(lstm, expected, labels), atol=1e-6)


def test_a_loss_below_0_that_was_predicted_as_0_is_no_doubt():
    """Scores are at least 0, so such a prediction came true; else it would be made anew from every pool."""
    lstm = LSTMImportance(history=2, units=4, classes=0, jit_compile=False)
    lstm.build(8, None, seed=0)
    for _ in range(30):
        lstm.update(np.arange(8), None, np.full(8, -2.0))
        lstm.score(pool(np.arange(8)))
    np.testing.assert_array_equal(lstm.score(pool(np.arange(8))), 0)
    lstm.update(np.arange(8), None, [-2.0] * 7 + [1.0])
    assert lstm._of_seen.most_doubtful(np.arange(7), 7).tolist() == []
    assert lstm._of_seen.most_doubtful(np.arange(8), 8).tolist() == [7]


def test_a_candidate_that_comes_twice_has_one_score():
    lstm, labels = trained(512)
    lstm.prepare(4, 20)
    lstm.update(np.arange(20), labels[:20], np.full(20, 9.0))
    twice = np.repeat(np.arange(20), 2)
    scores = lstm.score(pool(twice, labels[twice]))
    np.testing.assert_array_equal(scores[::2], scores[1::2])


@pytest.mark.parametrize("batches", [64, 128, 256, 512])
def test_no_prediction_is_kept_while_the_network_learns_fast(batches):
    lstm, labels = trained(batches)
    everything = np.arange(600)
    np.testing.assert_allclose(lstm.score(pool(everything, labels)), fresh(lstm, everything, labels), atol=1e-6)


def test_without_a_cache_every_prediction_is_new_and_every_batch_is_learnt_from():
    lstm, labels = trained(70, cached=False)
    assert int(lstm._learnt.step) == 70
    everything = np.arange(600)
    np.testing.assert_allclose(lstm.score(pool(everything, labels)), fresh(lstm, everything, labels), atol=1e-6)


def test_a_cached_lstm_learns_from_every_batch_at_first_then_from_some():
    lstm, _ = trained(512 + 32)
    assert int(lstm._learnt.step) == 512 + 2
    lstm, _ = trained(512 + 16, learn_every=4)
    assert int(lstm._learnt.step) == 512 + 4


def test_a_cached_lstm_goes_on_from_its_state():
    lstm, labels = trained(60)
    again = LSTMImportance(history=4, units=4, jit_compile=False)
    again.build(600, 3, seed=1)
    again.set_state(lstm.get_state())
    for importance in (lstm, again):
        for batch in (np.arange(10), np.arange(250, 260)):
            importance.update(batch, labels[batch], np.ones(10))
    everything = pool(np.arange(600), labels)
    np.testing.assert_array_equal(lstm.score(everything), again.score(everything))
    with pytest.raises(ValueError, match="`state` must be of 600 predictions. Received: of 3"):
        again._of_seen.set_state(lstm._of_unseen.get_state())


def test_indices_that_come_later_have_predictions_of_their_class():
    """Without a size there is room for those that come."""
    lstm = LSTMImportance(history=2, units=4, jit_compile=False)
    lstm.build(None, 2, seed=0)
    for _ in range(200):
        lstm.update(np.arange(10), np.arange(10) % 2, 1.0 + np.arange(10) % 2)
    scores = lstm.score(pool([3, 1000, 1001], np.array([1, 0, 1])))
    assert scores[1] != scores[2]
    losses, count = lstm.losses.window([3, 1000, 1001])
    np.testing.assert_allclose(scores, lstm.network(losses, count, np.array([1, 0, 1], np.int32)), atol=1e-6)


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
        (lambda: Oracle(None, batch_size=0), "`batch_size` must be a whole number >= 1. Received: batch_size=0"),
        (lambda: LSTMImportance(history=0), "`history` must be a whole number >= 1. Received: history=0"),
        (lambda: LSTMImportance(units=-1), "`units` must be a whole number >= 1. Received: units=-1"),
        (lambda: LSTMImportance(embedding=0), "`embedding` must be a whole number >= 1. Received: embedding=0"),
        (lambda: LSTMImportance(learn_every=0), "`learn_every` must be a whole number >= 1. Received: learn_every=0"),
        (lambda: LSTMImportance(classes=-1), "`classes` must be None or a whole number >= 0. Received: classes=-1"),
        (lambda: LSTMImportance(learning_rate=0), "`learning_rate` must be a number > 0. Received: learning_rate=0"),
        (lambda: LSTMImportance(quantity="full_gnorm"), "`quantity` must be 'loss' or 'gnorm'. Received: quantity='full_gnorm'"),
        (lambda: LSTMImportance(classes=3).build(9, 5, 0), r"`y` must be class ids in \[0, 3\). Received: y=4"),
        (lambda: PerClassGaussian(decay=2), r"`decay` must be a number in \[0, 1\]. Received: decay=2"),
        (lambda: PerClassGaussian(quantity="x"), "`quantity` must be 'loss' or 'gnorm'. Received: quantity='x'"),
    ],
)
def test_bad_arguments_are_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()
