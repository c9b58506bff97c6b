"""Parts by name, class, object or function; what is none is told what it lacks."""

import numpy as np
import pytest

from importance_sampling import (
    ArraySource,
    Drawing,
    Importance,
    ImportanceSampler,
    ImportanceTraining,
    PerClassGaussian,
    Reweighting,
    Smoothing,
    register,
    registered,
)
from importance_sampling.registry import KINDS
from tests.models import classifier

SOURCE = ArraySource(np.zeros((60, 2), np.float32), np.arange(60) % 3)


def sampler(**settings):
    return ImportanceSampler(SOURCE, **{"importance": "pcg", "presample": 30, "seed": 0, **settings})


def same_draws(one, other):
    for _ in range(4):
        ours, theirs = one.draw(10), other.draw(10)
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        for each, draw in ((one, ours), (other, theirs)):
            each.update(draw, 1.0 + draw.indices % 3)


@pytest.fixture
def names():
    """What a test registers is forgotten after it."""
    before = {kind: dict(registry._parts) for kind, registry in KINDS.items()}
    yield
    for kind, registry in KINDS.items():
        registry._parts = before[kind]


class Own(Importance):
    def score(self, pool):
        return 1.0 + pool.indices

    def update(self, indices, labels, values):
        self.seen = values


class Half(Drawing):
    def draw(self, scores, b, rng):
        return rng.integers(len(scores), size=b), np.full(len(scores), b / len(scores))


class Root(Smoothing):
    def __call__(self, scores):
        return np.sqrt(scores) + 0.1


class Raw(Reweighting):
    def weights(self, expected, chosen, k):
        return len(chosen) / (len(expected) * expected[chosen])


def half(scores, b, rng):
    return rng.integers(len(scores), size=b), np.full(len(scores), b / len(scores))


def root(scores):
    return np.sqrt(scores) + 0.1


def raw(expected, chosen, k):
    return len(chosen) / (len(expected) * expected[chosen])


@pytest.mark.parametrize(
    ("kind", "cls", "function"),
    [
        ("importance", Own, lambda pool: 1.0 + pool.indices),
        ("draws", Half, half),
        ("smoothing", Root, root),
        ("reweighting", Raw, raw),
    ],
)
def test_a_name_a_class_an_object_and_a_function_are_the_same_part(names, kind, cls, function):
    for i, part in enumerate((cls, cls(), function)):
        register(kind, f"mine {i}", part)
    assert registered(kind)[-3:] == ("mine 0", "mine 1", "mine 2")
    expected = sampler(**{kind: cls})
    for part in (cls(), function, "mine 0", "mine 1", "mine 2"):
        same_draws(sampler(**{kind: cls}), sampler(**{kind: part}))
    assert expected.draw(10).indices.shape == (10,)


def test_pools_may_be_a_function():
    first = sampler(pools=lambda size, count, rng: np.arange(count))
    assert all(set(first.draw(10).pool_indices) == set(range(30)) for _ in range(3))


def test_register_decorates(names):
    @register("importance", "decorated")
    class Decorated(Own):
        pass

    assert Decorated.__name__ == "Decorated" and isinstance(sampler(importance="decorated").importance, Decorated)


def test_a_registered_object_is_copied_for_every_sampler(names):
    register("importance", "shared", PerClassGaussian(decay=0.5))
    one, other = sampler(importance="shared"), sampler(importance="shared")
    one.update(one.draw(10), np.full(10, 5.0))
    assert one.importance.decay == other.importance.decay == 0.5
    np.testing.assert_allclose(other.importance.mean, 1)


def test_a_mean_importance_by_the_function_of_the_model_trains(names):
    register("importance", "by label", lambda pool: 1.0 + pool.labels)
    model = classifier()
    history = ImportanceTraining(model, "by label", presample=30, seed=0).fit(SOURCE, batch_size=10, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


class Lacking:
    def score(self, pool):
        return np.ones(len(pool))


class Abstract(Importance):
    def score(self, pool):
        return np.ones(len(pool))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: register("importance", "pcg", Own), "`name` must not be registered yet as importance. Received: name='pcg'"),
        (lambda: register("importance", "", Own), "`name` must be a string that is not empty. Received: name=''"),
        (
            lambda: register("importance", "x", Lacking),
            "`importance` must have .*update.* all but score, update",
        ),
        (lambda: register("importance", "x", Lacking()), "`importance` must have .*update.* Received: Lacking without"),
        (lambda: register("importance", "x", Abstract), "`importance` must have update; .* Received: Abstract without"),
        (lambda: register("importance", "x", 3), "`importance` must be one of .*a function of a Pool .* Received: importance=3"),
        (lambda: register("smoothing", "x", "adaptive"), "`smoothing` must be one of adaptive, .*Received: smoothing='adaptive'"),
        (lambda: register("draw", "x", half), "`kind` must be one of .*importance.* Received: kind='draw'"),
        (lambda: registered("draw"), "`kind` must be one of .* Received: kind='draw'"),
        (lambda: sampler(importance=Lacking()), "`importance` must have .*update.* Received: Lacking without"),
        (lambda: sampler(draws=object()), "`draws` must be one of multinomial, systematic, .* Received: draws=<object"),
        (lambda: sampler(reweighting=None), "`reweighting` must be one of rescaled, literal, .* Received: reweighting=None"),
    ],
)
def test_what_is_no_part_is_named(names, make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            dict(draws=lambda s, b, rng: (np.arange(b) + 25, b * s)),
            r"`draws` must return positions in \[0, 30\). Received: 34 from",
        ),
        (dict(draws=lambda s, b, rng: (np.arange(b) - 1, b * s)), r"`draws` must return positions in \[0, 30\). Received: -1 from"),
        (dict(draws=lambda s, b, rng: (np.arange(b - 1), b * s)), r"`draws` must return 10 positions. Received: shape \(9,\) from"),
        (dict(draws=lambda s, b, rng: (np.arange(b), s)), "`draws` must return expected counts with a sum of 10. Received: 1.0"),
        (
            dict(draws=lambda s, b, rng: (np.arange(b), s[:3])),
            r"`draws` must return 30 expected counts. Received: shape \(3,\)",
        ),
        (
            dict(draws=lambda s, b, rng: (np.arange(b), np.where(np.arange(30) > 9, 0.5, 0.0))),
            "`draws` must expect what it chooses. Received: an expected count of 0.0 for a chosen position",
        ),
        (dict(smoothing=lambda s: s[:4]), r"`smoothing` must return 30 numbers >= 0. Received: shape \(4,\) from <lambda>"),
        (dict(smoothing=lambda s: s - 9), "`smoothing` must return 30 numbers >= 0. Received: -8.0 from <lambda>"),
        (
            dict(pools=lambda n, count, rng: np.arange(count) + 40),
            r"`pools` must return 30 indices in \[0, 60\). Received: .* from",
        ),
        (dict(importance=lambda pool: np.ones(3)), r"`importance.score` must return shape \(30,\). Received: \(3,\)"),
        (dict(reweighting=lambda expected, chosen, k: -np.ones(len(chosen))), "`reweighting` must return 10 finite numbers >= 0"),
        (dict(reweighting=lambda expected, chosen, k: np.ones(3)), "`reweighting` must return 10 finite numbers >= 0"),
    ],
)
def test_what_breaks_a_contract_is_named(settings, text):
    with pytest.raises(ValueError, match=text):
        sampler(**settings).draw(10)
