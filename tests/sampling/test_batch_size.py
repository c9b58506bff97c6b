"""The batch-size rule: over arrays, streams and the callback, replicas, several steps in one execution, and XLA."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from importance_sampling import (
    ArraySource,
    BatchSizeRule,
    ImportanceSampler,
    ImportanceSampling,
    ImportanceTraining,
    StepInfo,
    Warmup,
    with_indices,
)
from tests.checks import assert_equal_weights
from tests.models import classifier, small_lstm

N, B, POOL = 256, 16, 64
Y = np.arange(N) % 3
X = (np.random.default_rng(0).normal(size=(N, 2)) + 2 * np.eye(3)[Y][:, :2]).astype(np.float32)
SIZES = 5 * [2] + 5 * [4] + 5 * [8] + 17 * [16]  # of Warmup(15) over 32 steps


def batches():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(B)


def by_arrays(model, importance, rule, **settings):
    training = ImportanceTraining(model, importance, presample=POOL, seed=0, batch_size_rule=rule, **settings)
    return lambda **arguments: training.fit(X, Y, batch_size=B, verbose=0, **arguments)


def by_batches(model, importance, rule, **settings):
    training = ImportanceTraining(model, importance, presample=POOL, seed=0, batch_size_rule=rule, **settings)
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    data = data if isinstance(importance, str) else with_indices(data)
    return lambda **arguments: training.fit(data.batch(B), verbose=0, **arguments)


def by_callback(model, importance, rule, **settings):
    callback = ImportanceSampling(B, importance, seed=0, batch_size_rule=rule, **settings)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).repeat(4)
    data = data if isinstance(importance, str) else with_indices(data)
    return lambda **arguments: model.fit(data.batch(POOL), shuffle=False, verbose=0, callbacks=[callback], **arguments)


WAYS = {"arrays": by_arrays, "batches": by_batches, "callback": by_callback}


@pytest.mark.parametrize("importance", ["uniform", "oracle", "pcg", "approx"])
@pytest.mark.parametrize("way", WAYS)
def test_a_warmup_doubles_the_batch_and_keeps_the_updates(way, importance):
    model, draws = classifier(), []
    fit = WAYS[way](model, small_lstm() if importance == "approx" else importance, Warmup(15), on_step=lambda d, _: draws.append(d))
    history = fit(epochs=2)
    assert [len(draw) for draw in draws] == SIZES
    assert int(model.optimizer.iterations) == 32 and np.all(np.isfinite(history.history["loss"]))
    assert all(len(set(draw.indices)) > 1 for draw in draws)
    for draw in draws if importance != "uniform" else []:
        np.testing.assert_allclose(draw.pool_expected.sum(), len(draw))
        assert len(draw.pool_indices) == (N if draw.pool_size == N else POOL)


@given(st.integers(0, 200), st.integers(1, 6), st.integers(1, 500))
def test_a_warmup_is_its_closed_form(steps, doublings, batch_size):
    rule = Warmup(steps, doublings)
    found = [rule.batch_size(StepInfo(step, batch_size, 1000, None)) for step in range(steps + 2)]
    expected = [-(-batch_size // 2 ** (doublings - step * doublings // steps)) for step in range(steps)] + 2 * [batch_size]
    assert found == expected and set(found) <= set(rule.sizes(batch_size))


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_traced_in_mid_training(way):
    """The model's step is run by Python while it is traced only: before the first step, and not for another batch size."""
    traced, seen = [], []

    class Model(keras.Sequential):
        def compute_loss(self, *args, **kwargs):
            traced.append(len(seen))
            return super().compute_loss(*args, **kwargs)

    model = Model([keras.Input((2,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    WAYS[way](model, "pcg", Warmup(15), on_step=lambda draw, _: seen.append(len(draw)))()
    assert len(set(seen)) > 1 and max(traced) == 0


@pytest.mark.parametrize("way", WAYS)
def test_the_lstm_is_compiled_for_one_size(way, monkeypatch):
    from importance_sampling.importance import lstm
    from importance_sampling.model import loss_steps

    shapes = []
    tensors = lstm.tensors
    for module in (lstm, loss_steps):  # one learns, one predicts
        monkeypatch.setattr(module, "tensors", lambda *arrays: shapes.append((len(arrays), len(arrays[0]))) or tensors(*arrays))
    WAYS[way](classifier(), small_lstm(), Warmup(15))(epochs=2)
    assert set(shapes) == {(3, POOL), (5, B)}


def test_a_rule_may_be_a_function():
    seen, draws = [], []

    def rule(info):
        seen.append(info)
        return 3 + info.step % 5

    by_arrays(classifier(), "oracle", rule, on_step=lambda draw, _: draws.append(draw))()
    assert [len(draw) for draw in draws] == [3 + i % 5 for i in range(16)]
    assert [info.step for info in seen] == list(range(16))
    assert all(info.batch_size == B and info.pool_size == POOL and info.scores.sum() == pytest.approx(1) for info in seen)


@pytest.mark.parametrize("steps_per_execution", [1, 5])
def test_several_steps_in_one_execution_have_sizes_of_their_own(steps_per_execution):
    draws = []
    model = classifier(steps_per_execution=steps_per_execution)
    by_arrays(model, "oracle", Warmup(15), on_step=lambda draw, _: draws.append(len(draw)))()
    assert draws == SIZES[:16] and int(model.optimizer.iterations) == 16


def test_under_xla_the_sizes_are_told():
    draws = []
    fit = by_arrays(classifier(jit_compile=True), "pcg", Warmup(15), on_step=lambda draw, _: draws.append(len(draw)))
    with pytest.warns(RuntimeWarning, match="compiles the training step for each batch size when it first occurs: 2, 4, 8, 16."):
        fit()
    assert draws == SIZES[:16]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_arrays(classifier(jit_compile=True), "pcg", "fixed")(steps_per_epoch=2)


def test_replicas_share_a_multiple(strategy):
    with strategy.scope():
        model = classifier()
    draws = []
    by_arrays(model, "pcg", lambda info: 3 + info.step % 4, on_step=lambda draw, _: draws.append(len(draw)))(steps_per_epoch=8)
    assert draws == [4, 4, 6, 6, 4, 4, 6, 6]


def test_a_state_goes_on_with_the_number_of_steps():
    make = lambda: ImportanceSampler(ArraySource(X, Y), "pcg", presample=POOL, seed=0, batch_size_rule=Warmup(15))  # noqa: E731
    sampler = make()
    for _ in range(7):
        sampler.draw(B)
    twin = make()
    twin.set_state(sampler.get_state())
    for _ in range(5):
        ours, theirs = sampler.draw(B), twin.draw(B)
        assert len(ours) == len(theirs)
        np.testing.assert_array_equal(ours.indices, theirs.indices)


class Wrong(BatchSizeRule):
    def __init__(self, size):
        self.size = size

    def batch_size(self, info):
        return self.size


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, -1, 65, 2.5, float("nan"), None, "8"])
def test_a_size_that_is_none_is_refused_before_the_first_step(way, size):
    model = classifier()
    before = model.get_weights()
    for rule in (Wrong(size), lambda info: size):
        name = "Wrong" if isinstance(rule, Wrong) else "<lambda>"
        text = rf"`batch_size_rule` must return a whole number in \[1, 64\]. Received: {size!r} from {name}"
        with pytest.raises(ValueError, match=text):
            WAYS[way](model, "pcg", rule)()
    assert_equal_weights(model, before)
    assert "compute_loss" not in vars(model)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Warmup(-1), "`steps` must be a whole number >= 0. Received: steps=-1"),
        (lambda: Warmup(1.5), "`steps` must be a whole number >= 0. Received: steps=1.5"),
        (lambda: Warmup(10, doublings=0), "`doublings` must be a whole number >= 1. Received: doublings=0"),
        (lambda: ImportanceSampling(8, batch_size_rule="fixd"), "`batch_size_rule` must be one of fixed, .* Received: .*'fixd'"),
        (
            lambda: ImportanceTraining(classifier(), batch_size_rule=Warmup),
            "`batch_size_rule` .* give an object where",
        ),
        (lambda: ImportanceTraining(classifier(), batch_size_rule=3), "`batch_size_rule` must be one of fixed, .* Received: .*=3"),
    ],
)
def test_bad_rules_are_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()
