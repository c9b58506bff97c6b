"""What a reviewer found: samples that are never drawn again, parts that are shared, sums, buffers, looks that change something."""

import keras
import numpy as np
import pytest

from importance_sampling import (
    ArraySource,
    ConstantVarianceImportanceTraining,
    HistoryImportance,
    ImportanceSampler,
    ImportanceSampling,
    ImportanceTraining,
    Warmup,
    adaptive,
    additive,
    measured,
)
from importance_sampling.sampling.smoothing import probabilities
from tests.checks import assert_equal_weights
from tests.models import classifier

N = 640
X = np.random.default_rng(0).normal(size=(N, 2)).astype("float32")
Y = (X.sum(axis=1) > 1).astype(int) + (X[:, 0] > 1)


def test_no_sample_with_a_gradient_to_come_is_left_out_for_good():
    """A hinge loss: nine tenths of the samples begin without any, and get one as the others are learnt."""
    rng = np.random.default_rng(0)
    rare = np.arange(200) % 10 == 0
    x = (np.where(rare[:, None], [[1, 0.5]], [[1, 0.0]]) + rng.normal(size=(200, 2)) * 0.02).astype("float32")
    y = np.where(rare, -1, 1).astype("float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1), "hinge")
    model.set_weights([np.array([[3.0], [0.0]], "float32")])
    ConstantVarianceImportanceTraining(model, seed=0).fit(x, y, batch_size=20, epochs=100, verbose=0)
    assert model.evaluate(x, y, verbose=0) < 0.05  # plain fit 0.004; 1.13 where they are left out


def test_an_object_that_is_given_to_two_trainings_learns_in_none_of_them():
    """Also a smoothing of the user's, and one object for other data: what it learns begins anew."""

    def fitted(smoothing):
        training = ImportanceTraining(classifier(), "history", smoothing=smoothing, k=1.0, seed=0)
        training.fit(X, Y, batch_size=20, epochs=5, verbose=0)
        return training

    for make in (measured, adaptive):
        used = make()
        first = fitted(used)
        np.testing.assert_equal(used.get_state(), make().get_state())
        keras.utils.set_random_seed(0)
        again = fitted(used)
        keras.utils.set_random_seed(0)
        fresh = fitted(make())
        assert_equal_weights(again.model, fresh.model.get_weights())
        before = first.sampler.smoothing.get_state()
        first.fit(X[:300] + 1, Y[:300], batch_size=20, verbose=0)
        begun = first.sampler.smoothing.get_state()
        assert "steps" not in begun or begun["steps"] == 15 < before["steps"]


def test_a_callback_on_another_model_begins_anew():
    callback = ImportanceSampling(16, "oracle", k=1.0, smoothing="measured", seed=0)
    for _ in range(2):
        classifier().fit(X, Y, batch_size=64, epochs=3, callbacks=[callback], shuffle=False, verbose=0)
        assert callback.sampler.smoothing.get_state()["steps"] == 30


@pytest.mark.parametrize("importance", ["uniform", "pcg", "history"])
@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size"])
def test_a_smaller_batch_does_not_shrink_the_step_of_a_summed_loss(importance, reduction):
    """Of a loss that is the same for all samples, a step by 8 of 64 moves the weights as one by 64 does."""
    x, y = np.ones((N, 2), "float32"), np.zeros(N, int)
    moved, loss = [], keras.losses.SparseCategoricalCrossentropy(reduction=reduction)
    for rule in ("fixed", lambda info: 8):
        keras.utils.set_random_seed(0)
        model, told = classifier(loss=loss, optimizer=keras.optimizers.SGD(1e-3)), []
        before = model.get_weights()
        on_step = lambda draw, losses: told.append(losses)  # noqa: B023, E731
        training = ImportanceTraining(model, importance, k=1.0, batch_size_rule=rule, seed=0, on_step=on_step)
        history = training.fit(x, y, batch_size=64, steps_per_epoch=5, verbose=0).history
        moved.append(np.concatenate([np.ravel(a - b) for a, b in zip(model.get_weights(), before)]))
        np.testing.assert_allclose(told[0], told[0][0], rtol=1e-5)  # what single samples lost
        expected = (64 if reduction == "sum" else 1) * told[2][0]
        assert told[0][0] < 3 and history["loss"][0] == pytest.approx(expected, rel=0.2)
    # "history" has bounds of several steps, so that weights vary a little about 1; a step that shrinks does so by a factor of 8
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-2, atol=1e-7)


class Items:
    def __len__(self):
        return N

    def __getitem__(self, i):
        return X[i], Y[i]


@pytest.mark.parametrize("importance", ["approx", "history", "auto"])
def test_single_samples_whose_targets_are_not_known_before(importance):
    from importance_sampling import LSTMImportance

    made = LSTMImportance(history=3, units=4, jit_compile=False) if importance == "approx" else importance
    history = ImportanceTraining(classifier(), made, seed=0).fit(Items(), batch_size=20, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    with pytest.raises(ValueError, match="`y` must be given for an importance that tells classes apart"):
        ImportanceTraining(classifier(), "pcg", seed=0).fit(Items(), batch_size=20, verbose=0)


def test_a_buffer_that_is_used_again_and_losses_that_are_sorted_change_nothing():
    means = []
    for reused in (False, True):
        sampler, buffer = ImportanceSampler(ArraySource(X, Y), "pcg", k=1.0, seed=0), np.empty(16)
        for _ in range(200):
            draw = sampler.draw(16)
            buffer[:] = 1 + 3 * Y[draw.indices]
            sampler.update(draw, buffer if reused else buffer.copy())
        means.append(sampler.importance.get_state())
    np.testing.assert_equal(means[0], means[1])
    models = []
    for on_step in (None, lambda draw, losses: losses.sort()):
        keras.utils.set_random_seed(0)
        models.append(classifier())
        ImportanceTraining(models[-1], HistoryImportance(quantity="loss"), seed=0, on_step=on_step).fit(X, Y, epochs=4, verbose=0)
    assert_equal_weights(models[0], models[1].get_weights())


def test_to_look_at_the_variance_ratio_changes_nothing():
    models = []
    for looks in (False, True):
        keras.utils.set_random_seed(0)
        models.append(classifier())
        on_step = lambda draw, losses: training.sampler.variance_ratio  # noqa: B023, E731
        training = ConstantVarianceImportanceTraining(models[-1], seed=0, on_step=on_step if looks else None)
        training.fit(X, Y, batch_size=20, epochs=8, verbose=0)
    assert_equal_weights(models[0], models[1].get_weights())


@pytest.mark.parametrize("rule", [lambda info: 4 if info.step < 100 else 64, Warmup(100_000, 4)])
def test_auto_with_a_rule_of_the_users(rule):
    """Sizes are of the batch that was given, and a pass leaves nothing out."""
    given, indices = [], []

    def noted(info):
        given.append((info.batch_size, info.pool_size))
        return (rule if callable(rule) else rule.batch_size)(info)

    sampler = ImportanceSampler(ArraySource(X, Y), "auto", batch_size_rule=noted, seed=0)
    while len(indices) < 2 * N:
        draw = sampler.draw(64)
        sampler.update(draw, np.ones(len(draw)), np.ones(len(draw)))
        indices += draw.indices.tolist()
    assert set(given) == {(64, N)}
    assert sorted(indices[:N]) == sorted(indices[N : 2 * N]) == list(range(N))


@pytest.mark.parametrize("importance", ["auto", "history", "uniform"])
def test_samples_that_the_users_pools_leave_out_are_never_drawn(importance):
    """Also while the importance has no say."""
    half = lambda size, count, rng: rng.choice(size // 2, count, replace=False)  # noqa: E731
    sampler = ImportanceSampler(ArraySource(X, Y), importance, pools=half, presample=N // 4, seed=0)
    for _ in range(40):
        draw = sampler.draw(16)
        sampler.update(draw, np.ones(16), np.ones(16))
        assert draw.indices.max() < N // 2


@pytest.mark.parametrize("several", range(1, 12))
def test_however_many_are_enormous_none_takes_more_than_an_eighth(several):
    scores = np.r_[1e9, np.full(several, 1e6), np.full(500 - several, 1.0)]
    found = probabilities(additive(0.5), scores, print)
    assert found.max() <= 1 / 8 + 1e-12 and found.sum() == pytest.approx(1) and np.all(np.diff(found) <= 1e-15)


def test_what_the_largest_leave_by_round_off_is_not_taken_from_the_others():
    """Three of twelve that have all but a rest of 1e-16, and a third of which is the most that one may have."""
    scores = np.r_[np.zeros(9), 8.873271096636891e16, 1.0784325813206821e17, 1.2768320407223854e17]
    found = probabilities(additive(1.0), scores, print)
    assert np.all(found >= (scores + 1) / (scores + 1).sum() * (1 - 1e-9) * (scores == 0)) and found[0] > 0
    assert found.max() <= 1 / 3 + 1e-12


def test_decisions_are_told_in_the_fit_that_made_them(capsys):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 4
    x = (3 * np.eye(4)[y] + rng.normal(size=(2000, 4)) * np.where(rng.random(2000) < 0.1, 2.0, 0.3)[:, None]).astype(np.float32)
    training = ImportanceTraining(classifier(features=4, classes=4, optimizer=keras.optimizers.Adam(1e-2)), "auto", seed=0)
    first = training.fit(x, y, batch_size=40, epochs=16, verbose=2)
    assert first.decisions and "has chosen" in capsys.readouterr().out
    second = training.fit(x, y, batch_size=40, verbose=2)
    new = training.sampler.importance.decisions[len(first.decisions) :]
    assert getattr(second, "decisions", []) == new and capsys.readouterr().out.count("has chosen") == len(new)


def test_measured_values_are_checked():
    sampler = ImportanceSampler(ArraySource(X, Y), "pcg", seed=0)
    draw = sampler.draw(10)
    with pytest.raises(ValueError, match=r"`gnorms` must have shape \(10,\). Received: gnorms.shape=\(10, 1\)"):
        sampler.update(draw, np.ones(10), gnorms=np.ones((10, 1)))
    history = ImportanceSampler(ArraySource(X, Y), "history", seed=0)
    with pytest.raises(ValueError, match="HistoryImportance.quantity='loss'. goes by losses. .* importance=HistoryImportance"):
        history.update(history.draw(10), np.ones(10))


@pytest.mark.parametrize("seed", [-1, 1.5, "a"])
def test_bad_seeds(seed):
    for make in (
        lambda: ImportanceTraining(classifier(), seed=seed),
        lambda: ImportanceSampler(ArraySource(X, Y), "pcg", seed=seed),
    ):
        with pytest.raises(ValueError, match=f"`seed` must be None, a whole number >= 0 .* Received: seed={seed!r}"):
            make()


def test_a_seed_sequence_is_a_seed():
    one, other, same = (np.random.SeedSequence(1, spawn_key=key) for key in ((0,), (1,), (0,)))
    models = []
    for seed in (one, other, same):
        keras.utils.set_random_seed(0)
        models.append(classifier())
        ImportanceTraining(models[-1], "pcg", seed=seed).fit(X, Y, verbose=0)
    assert_equal_weights(models[0], models[2].get_weights())
    assert not np.array_equal(models[0].get_weights()[0], models[1].get_weights()[0])


@pytest.mark.parametrize("bad", [lambda s, b, rng: ([0] * b, [1.0] * len(s)), lambda s, b, rng: (np.zeros(b), np.ones(len(s)))])
def test_draws_that_return_something_else(bad):
    sampler = ImportanceSampler(ArraySource(X, Y), "pcg", draws=bad, seed=0)
    with pytest.raises(ValueError, match="`draws` must return two arrays, whole positions and expected counts"):
        sampler.draw(10)
