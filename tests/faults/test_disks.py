"""Disks that are full, directories that cannot be written: training goes on with one warning, or ends if that is asked for."""

import os
import subprocess
import sys

import pytest

from importance_sampling.data.state_file import read_state

SCRIPT = """
import contextlib, os, resource, signal, sys, warnings
import keras, numpy as np
from importance_sampling import Backup, ImportanceTraining
from importance_sampling.data.state_file import write_state
from importance_sampling.model.snapshot import trained, values_of

folder, on_error, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = np.random.default_rng(0)
x, y = rng.normal(size=(300, 4)).astype("float32"), np.arange(300) % 3
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1000), keras.layers.Dense(3, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")


class FillsUp(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 12 and limit:  # no file may be larger, from now on
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


backup = Backup(folder, save_freq=5, delete_checkpoint=False, on_error=on_error)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        ImportanceTraining(model, "history", seed=0).fit(x, y, batch_size=10, verbose=0, callbacks=[FillsUp(), backup])
    except OSError as error:
        print("OSError:", error)
for warning in caught:
    if "backup" in str(warning.message):
        print("warned:", warning.message)
print("updates:", int(model.optimizer.iterations), sum(float(np.sum(w)) for w in model.get_weights()))
print("train function:", model.train_function is None or "Engine" not in repr(model.train_function))
"""


def run(folder, on_error="warn", limit=0, wrap=()):
    command = [*wrap, sys.executable, "-c", SCRIPT, str(folder), on_error, str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def updates(lines):
    return next(line for line in lines if line.startswith("updates:"))


def test_a_disk_that_fills_up(tmp_path):
    """No file may grow beyond 20,000 bytes from step 12 on: the backup of step 10 stays, and nothing else is left."""
    undisturbed = run(tmp_path / "free")
    full = run(tmp_path / "full", limit=20_000)
    assert updates(full) == updates(undisturbed) and updates(full).startswith("updates: 30 ")
    assert sum(line.startswith("warned:") for line in full) == 1 and not any(line.startswith("OSError") for line in full)
    assert read_state(tmp_path / "full" / "importance.h5")["iterations"] == 10
    assert sorted(os.listdir(tmp_path / "full")) == ["importance.h5", "importance.h5.previous"]
    assert read_state(tmp_path / "free" / "importance.h5")["iterations"] == 30


def test_training_ends_where_that_is_asked_for(tmp_path):
    ended = run(tmp_path, "raise", limit=20_000)
    assert any(line.startswith("OSError:") for line in ended) and updates(ended).startswith("updates: 15 ")
    assert read_state(tmp_path / "importance.h5")["iterations"] == 10
    assert "train function: True" in ended  # the model is as it was found


def test_a_real_disk_that_is_full(tmp_path):
    """Of 64 kB, in a name space of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    wrap = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'mount -t tmpfs -o size=64k disk {disk} && exec "$@"', "sh"]
    try:
        subprocess.run([*wrap, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets users mount nothing")
    full = run(disk, wrap=wrap)
    assert updates(full) == updates(run(tmp_path / "free"))
    (warned,) = [line for line in full if line.startswith("warned:")]
    assert "could not be written, training goes on without" in warned


def test_a_directory_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("no directory")
    lines = run(tmp_path / "file" / "backup")
    (warned,) = [line for line in lines if line.startswith("warned:")]
    assert "could not be written" in warned and updates(lines).startswith("updates: 30 ")
    assert (tmp_path / "file").read_text() == "no directory"
