"""Nothing that is looked at leaves a trace: config, input shapes and saved file of a model are those after plain fit."""

import json
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

from importance_sampling import ImportanceSampling, ImportanceTraining
from tests.kinds import KINDS, LABELS, N, X, compiled
from tests.models import L

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves

UNBUILT = {
    "Sequential without Input": (lambda: compiled(keras.Sequential([L.Dense(4), L.Dense(3, activation="softmax")])), X, LABELS),
    "Sequential of Sequentials": (
        lambda: compiled(keras.Sequential([keras.Sequential([L.Dense(4)]), L.BatchNormalization(), L.Dense(3)]), LOSS()),
        X,
        LABELS,
    ),
    "convolutions without Input": (
        lambda: compiled(keras.Sequential([L.Conv1D(4, 3, padding="same"), L.GlobalMaxPooling1D(), L.Dense(3)]), LOSS()),
        np.repeat(X[:, :, None], 3, axis=1),
        LABELS,
    ),
}
MODELS = {**KINDS, **UNBUILT}


def LOSS():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


WAYS = {
    "plain": lambda model, x, y, settings: model.fit(x, y, **settings),
    "training": lambda model, x, y, settings: ImportanceTraining(model, "uniform", seed=0).fit(x, y, **settings),
    "callback": lambda model, x, y, settings: model.fit(x, y, **settings, callbacks=[ImportanceSampling(10, "uniform")]),
}


def after(make, x, y, way, folder, eagerly):
    """What a model is after a fit: shapes of its inputs and outputs, config, and what is in its saved file."""
    keras.backend.clear_session(free_memory=False)  # the names that Keras gives count from the start
    keras.utils.set_random_seed(0)
    model = make()
    model.run_eagerly = eagerly
    WAYS[way](model, x, y, dict(batch_size=10, shuffle=False, verbose=0))
    model.run_eagerly = False
    path = folder / f"{way}.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(re.sub(rb'"shared_object_id": \d+', b'"shared_object_id": 0', archive.read("config.json")))
        archive.extract("model.weights.h5", folder / way)
    with h5py.File(folder / way / "model.weights.h5") as file:
        found = {}
        file.visititems(lambda name, value: found.update({name: value.shape}) if isinstance(value, h5py.Dataset) else None)
    shapes = [getattr(model, name, None) for name in ("input_shape", "output_shape")]
    built = [(layer.name, layer.get_build_config()) for layer in model.layers]
    return shapes, built, model.get_build_config(), config, found, sorted(vars(model))


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_is_after_fit_what_plain_fit_leaves(kind, tmp_path):
    make, x, y = MODELS[kind]
    eagerly = kind not in UNBUILT and kind != "jit_compile"  # the look at the loss is the same, and tracing takes most of the time
    expected = after(make, x, y, "plain", tmp_path, eagerly)
    for way in ("training", "callback") if kind in UNBUILT else ("training",):  # inside plain fit it is Keras that builds
        for ours, theirs in zip(after(make, x, y, way, tmp_path, eagerly), expected):
            assert ours == theirs


@pytest.mark.parametrize("kind", UNBUILT)
def test_a_model_that_was_not_built_takes_batches_of_any_size_afterwards(kind):
    make, x, y = UNBUILT[kind]
    model = make()
    ImportanceTraining(model, "uniform", seed=0).fit(x, y, batch_size=8, verbose=0)
    assert model.input_shape[0] is None
    ImportanceTraining(model, "oracle", presample=N, seed=0).fit(x, y, batch_size=5, verbose=0)
    assert model.predict(x[:7], verbose=0).shape == (7, 3)
