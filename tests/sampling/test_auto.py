"""`importance="auto"`: estimates against closed forms, the choice against the truth, uniform sampling where nothing is gained."""

import keras
import numpy as np
import pytest

from importance_sampling import (
    ArraySource,
    Auto,
    ImportanceSampler,
    ImportanceSampling,
    ImportanceTraining,
    PerClassGaussian,
    Pool,
    with_indices,
)
from importance_sampling.sampling.choice import Choice
from tests.models import classifier

N, B = 2000, 40
RNG = np.random.default_rng(0)
Y = np.arange(N) % 4
OF_SAMPLE = RNG.permuted(np.exp(0.8 * RNG.normal(size=(4, N // 4))), axis=1).T.reshape(-1)  # each class alike
OF_CLASS = np.array([0.1, 0.2, 0.2, 3.0])[Y]


def sampler_of(importance="auto", seed=0, **settings):
    return ImportanceSampler(ArraySource(np.zeros((N, 1)), Y), importance, seed=seed, **settings)


def run(sampler, steps, norms, b=B):
    """Trains on nothing: each step has the gradient norms that `norms` says, an array, or a function of indices."""
    draws = []
    for _ in range(steps):
        draw = sampler.draw(b)
        found = norms(draw.indices) if callable(norms) else norms[draw.indices]
        sampler.update(draw, found, found)
        draws.append(draw)
    return draws


def least_ratio(scores, norms):
    """E[(g / q)^2] / E[g^2] of draws in proportion to the scores, with the best of the constants that are tried."""
    fractions = (0.1, 0.2, 0.5, 1, 2, 5)
    return min(np.mean(norms**2 / (1 + f) * (1 + f) ** 2 / (scores / scores.mean() + f)) for f in fractions) / np.mean(norms**2)


def test_it_begins_as_uniform_sampling_bit_for_bit_and_stays_where_nothing_is_gained():
    """Four passes over norms without any pattern."""
    noise = np.random.default_rng(1)
    auto, uniform = sampler_of(), sampler_of("uniform")
    norms = lambda indices: noise.exponential(size=len(indices))  # noqa: E731
    for one, other in zip(run(auto, 200, norms), run(uniform, 200, norms)):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.weights, np.ones(B))
    run(auto, 1000, norms)
    assert auto.importance.chosen == "uniform" and auto.importance.decisions == []


def test_it_looks_at_ever_fewer_batches_while_nothing_pays_and_at_all_once_something_does():
    """Down to an eighth of them. When samples come to differ it finds out, and then chooses as ever."""
    noise = np.random.default_rng(1)
    sampler = sampler_of()
    draws = run(sampler, 2400, lambda indices: noise.exponential(size=len(indices)))
    looked_at = np.array([draw.measured for draw in draws])
    assert looked_at[:100].all() and np.mean(looked_at[-1600:]) == pytest.approx(1 / 8, abs=0.02)
    assert all(draw.weights.tolist() == [1.0] * B for draw in draws)
    later = np.array([draw.measured for draw in run(sampler, 3200, OF_SAMPLE)])
    assert sampler.importance.chosen == "history" and later[-200:].all()
    assert run(sampler, 1, OF_SAMPLE)[0].measured


@pytest.mark.parametrize(
    ("norms", "chosen"), [(OF_SAMPLE, "history"), (OF_CLASS, "pcg"), (np.ones(N), "uniform"), (np.zeros(N), "uniform")]
)
def test_it_chooses_what_is_best(norms, chosen):
    """The history knows what the class knows, and is charged more."""
    sampler = sampler_of(Auto(choices=("pcg", "history")))
    run(sampler, 600, norms)
    assert sampler.importance.chosen == chosen
    assert len(sampler.importance.decisions) == (chosen != "uniform")


def test_the_estimates_are_true_before_and_after_the_choice():
    """From the draws of its own, after some hundred steps: within 4 %; before, while the first pass without a history still counts,
    within 15 %."""
    sampler = sampler_of(Auto(choices=("pcg", "history")))
    truth = least_ratio(OF_SAMPLE, OF_SAMPLE)
    run(sampler, 200, OF_SAMPLE)
    assert sampler.importance.ratios == pytest.approx({"history": truth, "pcg": 1.0}, rel=0.15)
    run(sampler, 600, OF_SAMPLE)
    assert sampler.importance.ratios == pytest.approx({"history": truth, "pcg": 1.0}, rel=0.04)
    assert sampler.variance_ratio == pytest.approx(truth, rel=0.04)


def test_batches_become_smaller_with_it_and_whole_again_when_it_no_longer_pays():
    sampler = sampler_of(Auto(choices=("history",)))
    assert {len(draw) for draw in run(sampler, 900, OF_SAMPLE)[-100:]} <= {18, 20, 23, 25, 28}
    noise = np.random.default_rng(1)
    last = run(sampler, 2000, lambda indices: noise.lognormal(0, 1.5, size=len(indices)))[-50:]
    assert sampler.importance.chosen == "uniform" and {len(draw) for draw in last} == {B}
    assert [word for said in sampler.importance.decisions for word in ("history", "uniform") if f"chosen '{word}'" in said] == [
        "history",
        "uniform",
    ]


def test_the_lstm_is_tried_and_dropped_where_it_is_no_better():
    sampler = sampler_of(Auto(choices=("pcg", "history", "approx")))
    run(sampler, 300, OF_SAMPLE)
    importance = sampler.importance
    assert importance.chosen == "history" and "approx" in importance._judged
    run(sampler, 500, OF_SAMPLE)
    assert 0.3 < importance.ratios["approx"] < 1.2
    run(sampler, 700, OF_SAMPLE)
    assert importance.chosen == "history" and "approx" not in importance._judged


def test_a_dear_choice_is_not_worth_it():
    sampler = sampler_of(Auto(choices=("history",), charges={"history": 0.6}))
    run(sampler, 600, OF_SAMPLE)
    assert sampler.importance.chosen == "uniform"


def test_time_is_measured_where_it_is_asked_for():
    """The fixed charge, 0.02, is no longer what counts."""
    sampler = sampler_of(Auto(choices=("pcg", "history"), charges="measured"))
    run(sampler, 600, OF_SAMPLE)
    assert sampler.importance._judged["history"].seconds > 0
    assert sampler.importance._charge("history") not in (0, 0.02)


@pytest.mark.parametrize(("steps", "norms"), [(3, OF_SAMPLE), (53, OF_SAMPLE), (333, OF_SAMPLE), (777, np.ones(N))])
def test_a_state_goes_on_where_it_was(steps, norms):
    """In the middle of a walk, at the end of one, after a choice, and where batches are left out."""
    one, other = sampler_of(), sampler_of(seed=1)
    run(one, steps, norms)
    other.set_state(one.get_state())
    assert other.importance.chosen == one.importance.chosen and other.importance.decisions == one.importance.decisions
    for mine, its in zip(run(one, 200, OF_SAMPLE), run(other, 200, OF_SAMPLE)):
        np.testing.assert_array_equal(mine.indices, its.indices)
        np.testing.assert_array_equal(mine.weights, its.weights)
    assert one.importance.decisions == other.importance.decisions


def blobs():
    """Four classes that are easily told apart, but for a tenth of the samples."""
    rng = np.random.default_rng(0)
    x = (3 * np.eye(4)[Y] + rng.normal(size=(N, 4)) * np.where(rng.random(N) < 0.1, 2.0, 0.3)[:, None]).astype(np.float32)
    return x, Y


def trained(epochs=16, verbose=0, **settings):
    keras.utils.set_random_seed(0)
    model = classifier(features=4, classes=4, optimizer=keras.optimizers.Adam(1e-2))
    training = ImportanceTraining(model, "auto", seed=0, **settings)
    return training, training.fit(*blobs(), batch_size=B, epochs=epochs, verbose=verbose)


def test_fit_says_what_was_chosen(capsys):
    training, history = trained(verbose=2)
    assert training.sampler.importance.chosen != "uniform"
    assert history.decisions == training.sampler.importance.decisions
    printed = capsys.readouterr().out
    assert all(printed.count(sentence) == 1 for sentence in history.decisions)
    assert "importance 'auto' has chosen" in history.decisions[0]
    trained(verbose=0, epochs=4)
    assert capsys.readouterr().out == ""


def test_the_same_seed_gives_the_same_training_bit_for_bit():
    (one, history), (other, again) = trained(), trained()
    assert history.history == again.history and history.decisions == again.decisions
    for mine, its in zip(one.model.get_weights(), other.model.get_weights()):
        np.testing.assert_array_equal(mine, its)


def test_what_goes_with_it_and_what_is_given():
    training, _ = trained(epochs=1)
    assert training.sampler.k == 1.0 and type(training.sampler.batch_size_rule).__name__ == "EqualVariance"
    training, _ = trained(epochs=1, k=0.5, batch_size_rule="fixed", smoothing="adaptive")
    assert training.sampler.k == 0.5 and type(training.sampler.batch_size_rule).__name__ == "Fixed"
    assert type(training.sampler.smoothing).__name__ == "adaptive"


def test_without_classes_and_without_bounds():
    x, y = blobs()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    training = ImportanceTraining(model, "auto", seed=0)
    training.fit(x, (y / 4).astype(np.float32), batch_size=B, epochs=8, verbose=0)
    assert "history" in training.sampler.importance.ratios and "pcg" not in training.sampler.importance.ratios

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(4)

        def call(self, x):
            return self.dense(x)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            losses = keras.losses.sparse_categorical_crossentropy(y, self(x), from_logits=True)
            return keras.ops.mean(losses * (1.0 if sample_weight is None else sample_weight))

    model = Own()
    model.compile("adam")
    with pytest.warns(RuntimeWarning, match="losses stand for them") as found:
        ImportanceTraining(model, "auto", seed=0).fit(x, y, batch_size=B, epochs=2, verbose=0)
    assert sum("losses stand" in str(warning.message) for warning in found) == 1


def test_batches_with_indices_and_the_callback():
    import tensorflow as tf

    x, y = blobs()
    plain = []
    data = with_indices(tf.data.Dataset.from_tensor_slices((x, y))).batch(B)
    training = ImportanceTraining(
        classifier(features=4, classes=4), "auto", seed=0, on_step=lambda draw, _: plain.append(draw.indices)
    )
    training.fit(data, epochs=1, shuffle=False, verbose=0)
    np.testing.assert_array_equal(np.concatenate(plain), np.arange(N))  # the batches as they come
    callback = ImportanceSampling(B, "auto", seed=0)
    indexed = with_indices(tf.data.Dataset.from_tensor_slices((x, y))).batch(4 * B)
    classifier(features=4, classes=4).fit(indexed, epochs=12, callbacks=[callback], shuffle=False, verbose=0)
    assert "history" in callback.sampler.importance.ratios


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"choices": ("oracle",)}, "`choices` must be out of pcg, history, approx"),
        ({"choices": ()}, "`choices` must be"),
        ({"choices": ("approx",)}, "`choices` must have 'history' or 'pcg': 'approx' is tried after them"),
        ({"charges": {"gnorm": 0.1}}, "`charges` must be None"),
        ({"charges": {"history": -1}}, r"`charges\['history'\]` must be a number >= 0"),
        ({"charges": "clock"}, "`charges` must be None"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Auto(**settings)


def test_data_that_leave_no_choice_are_refused():
    with pytest.raises(ValueError, match=r"`choices` must have 'history' on data without classes. Received: choices=\('pcg', 'app"):
        ImportanceTraining(classifier(), Auto(choices=("pcg", "approx"))).fit(np.zeros((9, 2)), np.full((9, 1), 0.5), verbose=0)


def test_a_state_of_other_choices_is_refused():
    sampler = sampler_of()
    run(sampler, 10, OF_SAMPLE)
    with pytest.raises(ValueError, match="must be of the choices pcg"):
        sampler_of(Auto(choices=("pcg",))).set_state(sampler.get_state())


class Counts(keras.Model):
    """Counts the traces of its step, with weights and without."""

    traces = ()

    def train_step(self, data):
        _, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        self.traces = (*self.traces, weights is not None)
        return super().train_step(data)


def test_steps_that_are_not_looked_at_are_those_of_plain_uniform_sampling():
    """Labels without any pattern, weights as those of uniform sampling: but for the last bits of a weighted mean."""
    x, _ = blobs()
    y = np.random.default_rng(1).integers(0, 4, N)
    found = []
    for importance in ("auto", "uniform"):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        model = Counts(inputs, keras.layers.Dense(4, activation="softmax")(inputs))
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        losses = []
        training = ImportanceTraining(model, importance, seed=0, on_step=lambda draw, of_draw: losses.append(of_draw))  # noqa: B023
        training.fit(x, y, batch_size=B, epochs=40, verbose=0)
        found.append((model.get_weights(), np.array(losses)))
        if importance == "auto":
            assert training.sampler.importance.chosen == "uniform" and training.sampler.importance._pause == 7
            assert set(model.traces) == {True, False}
    for one, other in zip(*(weights for weights, _ in found)):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)


@pytest.mark.parametrize("batches", [1, 8])
def test_a_class_forgets_by_batches_however_many_come_at_once(batches):
    one = Choice(PerClassGaussian(quantity="gnorm"), decay=0.95)
    one.importance.build(100, 2, 0)
    for _ in range(32 // batches):
        one.learn(np.arange(2 * batches), np.tile([0, 1], batches), np.tile([1.0, 2.0], batches), batches)
    assert one.importance.decay == pytest.approx(0.95**batches)
    before = one.importance.score(Pool(np.arange(2), np.arange(2), None))
    one.learn(np.arange(2 * batches), np.tile([0, 1], batches), np.tile([5.0, 2.0], batches), batches)
    after = one.importance.score(Pool(np.arange(2), np.arange(2), None))
    assert before[0] == pytest.approx(1.0) and 1.0 < after[0] < 5.0


def test_a_pool_of_one_batch_leaves_nothing_to_decide():
    x, y = blobs()
    model = classifier(features=4, classes=4, optimizer=keras.optimizers.Adam(1e-2))
    training = ImportanceTraining(model, "auto", seed=0)
    history = training.fit(x[:B], y[:B], batch_size=B, epochs=400, verbose=0)
    assert history.decisions == [] and training.sampler.importance.chosen == "uniform"


def test_the_time_of_a_step_is_that_of_all_that_passed():
    auto = Auto(charges="measured")
    auto.bind(None)
    auto.build(N, 4, 0)
    auto._pause = 3
    auto._time(1)
    auto._clock -= 4.0
    assert [auto.watches(1) for _ in range(4)] == [False, False, False, True]
    auto._time(1)
    assert auto._spans[-1] == pytest.approx(1.0, rel=0.01)
