"""`save_state` and `load_state`: another process goes on bit for bit, with the model that Keras saved."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from importance_sampling import ConstantVarianceImportanceTraining, ImportanceTraining
from importance_sampling.data.state_file import StateFileError
from tests.models import classifier, small_lstm

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of NumPy, about how Keras saves
N = 300
Y = np.arange(N) % 3
X = (3 * np.eye(3)[Y][:, :2] + np.random.default_rng(0).normal(size=(N, 2))).astype(np.float32)
KINDS = {
    "uniform": lambda model: ImportanceTraining(model, "uniform", seed=0),
    "pcg": lambda model: ImportanceTraining(model, "pcg", seed=0),
    "history": lambda model: ConstantVarianceImportanceTraining(model, seed=0),
    "approx": lambda model: ImportanceTraining(model, small_lstm(), seed=0),
    "oracle": lambda model: ImportanceTraining(model, "oracle", seed=0),
    "auto": lambda model: ImportanceTraining(model, "auto", seed=0),
}


def fit(training, epochs):
    training.fit(X, Y, batch_size=10, epochs=epochs, verbose=0)


def go_on(kind, folder):
    """What another process does: it loads both and trains for as long again."""
    training = KINDS[kind](keras.models.load_model(folder / "model.keras"))
    training.load_state(folder / "state.h5")
    fit(training, 4)
    return training.model.get_weights()


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_goes_on_bit_for_bit(kind, tmp_path):
    keras.utils.set_random_seed(0)
    training = KINDS[kind](classifier(optimizer="adam"))
    fit(training, 4)
    training.model.save(tmp_path / "model.keras")
    training.save_state(tmp_path / "state.h5")
    fit(training, 4)
    for mine, its in zip(training.model.get_weights(), go_on(kind, tmp_path)):
        np.testing.assert_array_equal(mine, its)


OTHER = """
import sys, pathlib, numpy as np
from tests.fit.test_save_state import go_on
folder = pathlib.Path(sys.argv[1])
np.savez(folder / "found.npz", *go_on("history", folder))
"""


def test_another_process_goes_on_bit_for_bit(tmp_path):
    keras.utils.set_random_seed(0)
    training = KINDS["history"](classifier(optimizer="adam"))
    fit(training, 4)
    training.model.save(tmp_path / "model.keras")
    training.save_state(tmp_path / "state.h5")
    subprocess.run([sys.executable, "-c", OTHER, str(tmp_path)], check=True, capture_output=True)
    fit(training, 4)
    with np.load(tmp_path / "found.npz") as found:
        for mine, its in zip(training.model.get_weights(), found.values()):
            np.testing.assert_array_equal(mine, its)


def test_what_cannot_be_loaded(tmp_path):
    training = KINDS["history"](classifier())
    with pytest.raises(ValueError, match="must come after `fit`"):
        training.save_state(tmp_path / "state.h5")
    fit(training, 1)
    training.save_state(tmp_path / "state.h5")
    other = KINDS["pcg"](classifier())
    other.load_state(tmp_path / "state.h5")
    with pytest.raises(ValueError, match="must be of a PerClassGaussian"):
        fit(other, 1)
    (tmp_path / "state.h5").write_bytes(b"something else")
    with pytest.raises(StateFileError, match="no state of this library"):
        training.load_state(tmp_path / "state.h5")
    fit(training, 1)  # it is as it was
