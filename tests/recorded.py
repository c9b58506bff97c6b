"""What a seed gave when it was recorded: draws, weights and the trained model of every importance, and what is given today.

python -m tests.recorded        writes the record anew; only where a change of results is meant, which the CHANGELOG tells
"""

import hashlib
import itertools
import json
import platform
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from importance_sampling import ImportanceSampling, ImportanceTraining
from tests.models import L, small_lstm

RECORD = Path(__file__).parent / "recorded.json"
IMPORTANCES = {"uniform": "uniform", "oracle": "oracle", "pcg": "pcg", "approx": small_lstm}
CASES = [
    *itertools.product(["arrays"], IMPORTANCES, ["multinomial", "systematic"], [0.5, 1.0]),
    *itertools.product(["batches", "callback"], ["oracle", "pcg"], ["multinomial"], [0.5]),
]
CASES = ["-".join(map(str, case)) for case in CASES]


def run(case):
    """Trains a small model in one of the `CASES`.

    Returns:
        A dictionary: hashes of the `draws` (places and weights) and of the trained `model`; the last `loss`.
    """
    way, importance, draws, k = case.split("-")
    importance = IMPORTANCES[importance]
    settings = dict(importance=importance() if callable(importance) else importance, draws=draws, k=float(k), seed=3)
    x, y = _data()
    model = _model()
    draws, trained = hashlib.sha256(), hashlib.sha256()
    losses = []

    def on_step(draw, of_samples):
        draws.update(draw.indices.astype("<i8").tobytes() + draw.weights.astype("<f4").tobytes())
        losses.append(float(of_samples.mean()))

    if way == "callback":
        callback = ImportanceSampling(16, on_step=on_step, **settings)
        model.fit(x, y, batch_size=64, shuffle=False, epochs=2, verbose=0, callbacks=[callback])
    else:
        training = ImportanceTraining(model, presample=64, on_step=on_step, **settings)
        if way == "arrays":
            training.fit(x, y, batch_size=16, epochs=2, verbose=0)
        else:
            training.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(16), epochs=2, verbose=0)
    for array in model.get_weights():
        trained.update(array.astype("<f4").tobytes())
    return {"draws": draws.hexdigest()[:16], "model": trained.hexdigest()[:16], "loss": losses[-1]}


def machine():
    """What the last bit of a sum depends on."""
    features = Path("/proc/cpuinfo")
    flags = sorted(line for line in features.read_text().splitlines() if line.startswith("flags"))[:1] if features.exists() else []
    cpu = hashlib.sha256(str(flags or platform.processor()).encode()).hexdigest()[:16]
    return {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__, "cpu": cpu}


def _data():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 240)
    return (rng.normal(size=(240, 6)) + 1.5 * np.eye(6)[y]).astype(np.float32), y


def _model():
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((6,)), L.Dense(12, activation="tanh"), L.Dropout(0.2), L.Dense(4, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


if __name__ == "__main__":
    found = {"machine": machine(), **{case: run(case) for case in CASES}}
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
