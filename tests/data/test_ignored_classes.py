"""Labels that the loss leaves out: `ignore_class=-1`, 255 and the like, which are no class ids to an importance."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from importance_sampling import ImportanceSampling, ImportanceTraining, LSTMImportance, with_indices
from importance_sampling.data.labels import Apart
from tests.checks import assert_refused
from tests.models import L

N, B, POOL = 48, 8, 24
X = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
LABELS = np.where(np.arange(N) % 4 == 0, -1, np.arange(N) % 3)
TARGETS = {
    "-1": (-1, LABELS),
    "-1 as floats (N, 1)": (-1, LABELS[:, None].astype(np.float32)),
    "255 in uint8": (255, np.where(LABELS < 0, 255, LABELS).astype(np.uint8)),
    "-100": (-100, np.where(LABELS < 0, -100, LABELS)),
    "one of the model's classes": (0, np.maximum(LABELS, 0)),
}


def classifier(ignored, partial=False):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    if partial:
        loss = functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True, ignore_class=ignored)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignored)
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def approx(**options):
    return LSTMImportance(history=2, units=4, jit_compile=False, **options)


@pytest.mark.parametrize("importance", ["approx", "pcg"])
@pytest.mark.parametrize("kind", TARGETS)
def test_ignored_samples_are_a_class_of_their_own(kind, importance):
    ignored, y = TARGETS[kind]
    model, drawn = classifier(ignored), []
    training = ImportanceTraining(
        model,
        approx() if importance == "approx" else importance,
        presample=POOL,
        seed=0,
        on_step=lambda draw, losses: drawn.append((draw, losses)),
    )
    history = training.fit(X, y, batch_size=B, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    own = 0 if kind == "one of the model's classes" else 3
    for draw, losses in drawn:
        given = y.ravel()[draw.indices]
        np.testing.assert_array_equal(draw.labels, np.where(given == ignored, own, given))
        np.testing.assert_array_equal(draw.read()[1].ravel(), given)  # what is trained on is as it was
        np.testing.assert_allclose(losses[given == ignored], 0)


def test_the_same_labels_again_go_on_with_what_was_learnt():
    training = ImportanceTraining(classifier(-1), approx(), presample=POOL, seed=0)
    training.fit(X, LABELS, batch_size=B, verbose=0)
    first = training.sampler
    training.fit(X, LABELS, batch_size=B, verbose=0)
    assert training.sampler is first and first.classes == 4


@pytest.mark.parametrize("way", ["pcg on batches", "approx on indexed batches", "pcg by the callback", "approx by the callback"])
def test_labels_that_come_with_batches(way):
    samples = tf.data.Dataset.from_tensor_slices((X, LABELS))
    model = classifier(-1, partial=True)
    if way == "pcg on batches":
        history = ImportanceTraining(model, "pcg", presample=POOL).fit(samples.batch(B), verbose=0)
    elif way == "approx on indexed batches":
        history = ImportanceTraining(model, approx(), presample=POOL).fit(with_indices(samples).batch(B), verbose=0)
    elif way == "pcg by the callback":
        history = model.fit(samples.batch(POOL), shuffle=False, callbacks=[ImportanceSampling(B, "pcg")], verbose=0)
    else:
        callback = ImportanceSampling(B, approx())
        history = model.fit(with_indices(samples).batch(POOL), shuffle=False, callbacks=[callback], verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("ignored", [None, -2, 1])
@pytest.mark.parametrize("importance", ["approx", "pcg"])
def test_negative_labels_that_count_are_refused_with_what_helps(importance, ignored):
    model = classifier(ignored)
    text = r"importance=LSTMImportance\(classes=0\) do without.*one that does not count is `ignore_class` of the loss.*y=-1"
    assert_refused(
        model, lambda: ImportanceTraining(model, importance, presample=POOL).fit(X, LABELS, batch_size=B, verbose=0), text
    )


def test_what_is_told_apart():
    apart = Apart(classifier(-1))
    for labels in (LABELS, {"a": LABELS}, [LABELS]):  # of one output, by its name or not
        np.testing.assert_array_equal(apart(labels), np.where(LABELS < 0, 3, LABELS))
    for other in (None, {"a": LABELS, "b": LABELS}, np.zeros((4, 3)), np.array([0.5, -1.0, 2.0])[:, None] * np.ones(2)):
        assert apart(other) is other
    np.testing.assert_array_equal(apart.without(np.array([-1, 2, -1])), [2])
    np.testing.assert_array_equal(apart.without(np.array([-1, -1])), [0])
    assert apart.more(3) == 4 and apart.more(0) == 0 and apart.more(None) is None and Apart(classifier(None)).more(3) == 3
