"""Trainings that are killed at random moments, again and again, and gone on with until they end.

    python -m tests.faults.kills --kills 1000

Each training is a process of its own, made by `fork` before TensorFlow has begun to work, so that a life costs a second. It gets a
SIGKILL at a random moment: while it starts, between steps, or in the middle of a save. What it ends with, after all its lives, is
compared bit for bit with what an undisturbed one ends with: weights, optimizer, seeds of Dropout, and all that was learnt.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from importance_sampling import Backup, ConstantVarianceImportanceTraining, ImportanceSampling, ImportanceTraining, LSTMImportance
from importance_sampling.data.state_file import read_state, write_state
from importance_sampling.model.snapshot import trained, values_of

N, SIZE, EPOCHS = 240, 8, 12  # 30 steps an epoch
LONGEST = 120  # seconds that one life may take


def importance(name, **settings):
    def fit(model, x, y, callbacks):
        training = ImportanceTraining(model, settings.get("importance", name), smoothing=settings.get("smoothing"), seed=0)
        training.fit(x, y, batch_size=SIZE, epochs=EPOCHS, callbacks=callbacks, verbose=0)
        return training.sampler

    return fit


def equal_variance(model, x, y, callbacks):
    training = ConstantVarianceImportanceTraining(model, seed=0)
    training.fit(x, y, batch_size=SIZE, epochs=EPOCHS, callbacks=callbacks, verbose=0)
    return training.sampler


def callback(model, x, y, callbacks):
    ours = ImportanceSampling(SIZE, "oracle", seed=0)
    model.fit(x, y, batch_size=24, epochs=2 * EPOCHS, shuffle=False, callbacks=[*callbacks, ours], verbose=0)
    return ours.sampler


KINDS = {
    "equal-variance": equal_variance,
    "auto": importance("auto"),
    "approx": importance("approx", importance=LSTMImportance(history=3, units=4, jit_compile=False)),
    "oracle": importance("oracle"),
    "pcg": importance("pcg"),
    "measured": importance("history", smoothing="measured"),
    "uniform": importance("uniform"),
    "callback": callback,
}
BACKUPS = {
    "ours, 4 steps": lambda folder: Backup(folder, save_freq=4),
    "ours, epochs": lambda folder: Backup(folder),
    "Keras, 7 steps": lambda folder: keras.callbacks.BackupAndRestore(folder, save_freq=7),
}


def train(kind, backup, folder, pace):
    """A training from its beginning or its backup to its end, which is written to a file."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = np.arange(N) % 3
    x = (3 * np.eye(3)[y][:, :2] + rng.normal(size=(N, 2))).astype(np.float32)
    layers = keras.layers
    hidden = [layers.Dense(8, activation="tanh"), layers.BatchNormalization(), layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [] if backup is None else [BACKUPS[backup](folder / "backup")]
    slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))
    sampler = KINDS[kind](model, x, y, [*callbacks, slow])
    write_state(folder / "end", {"model": values_of(trained(model)), "learnt": sampler.get_state()})


def forked(function, *args):
    """Runs a function in a process of its own. Returns its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(os.open(args[2] / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        function(*args)
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def lived(pid, seconds):
    """Waits for a process, and kills it after so many seconds. Returns its exit code, or None where it was killed."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return None if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL else 0


def differing(one, other, name="state"):
    """Names of what differs between two states."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted({*one, *other})
        return [found for key in names for found in differing(one.get(key), other.get(key), f"{name}/{key}")]
    same = np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f") and type(one) is type(other)
    return [] if same else [name]


class Campaign:
    """Kills, and counts.

    Args:
        kinds, backups: names of KINDS and BACKUPS.
        seed: of the moments.

    Attributes:
        counts: `Counter` of `"kills"`, `"trainings"`, `"in a save"`, and `"files of Keras broken"`.
    """

    def __init__(self, kinds, backups, seed):
        self._random, self._kinds, self._backups = random.Random(seed), kinds, backups
        self.counts, self._expected, self._times = Counter(), {}, {}

    def run(self, kills, folder, progress=lambda counts: None):
        """Goes on until there were so many kills.

        Raises:
            AssertionError: a training ended in another way than an undisturbed one, or did not end.
        """
        for kind in self._kinds:
            self._expected[kind] = self._undisturbed(kind, folder / "undisturbed")
        turns = [(kind, backup) for kind in self._kinds for backup in self._backups]
        while self.counts["kills"] < kills:
            kind, backup = turns[self.counts["trainings"] % len(turns)]
            self._one(kind, backup, folder / "one")
            progress(self.counts)

    def _undisturbed(self, kind, folder):
        folder.mkdir()
        begun = time.monotonic()
        assert lived(forked(train, kind, None, folder, 0.0), LONGEST) == 0, (folder / "stderr").read_text()
        self._times[kind] = time.monotonic() - begun
        state = read_state(folder / "end")
        shutil.rmtree(folder)
        return state

    def _one(self, kind, backup, folder):
        """Kills a training up to twelve times, if it has not ended before, then lets it end."""
        folder.mkdir()
        left, pace, lives = self._random.randint(4, 12), self._random.choice((0.0, 0.005)), []
        while True:
            life = self._random.uniform(0.4, 1.0) * self._times[kind] if left else LONGEST
            code = lived(forked(train, kind, backup, folder, pace), life)
            lives.append(f"{life:.3f} s, then {code}: {' '.join(sorted(path.name for path in (folder / 'backup').glob('*')))}")
            if code is None:
                assert left, f"{kind}, {backup}: did not end"
                left -= 1
                self.counts["kills"] += 1
                self.counts["in a save"] += any((folder / "backup").glob("*.part"))
            elif code:  # the callback cannot delete what is broken, and before the first backup of ours there is nothing else
                ours = (folder / "backup" / "importance.h5").exists()
                assert backup.startswith("Keras") and (kind == "callback" or not ours), _told(kind, backup, lives, folder)
                self.counts["files of Keras broken"] += 1  # by which `fit` refuses to begin, before ours is asked
                for name in ("latest.weights.h5", "training_metadata.json"):
                    (folder / "backup" / name).unlink(missing_ok=True)
            else:
                break
        other = differing(read_state(folder / "end"), self._expected[kind])
        assert not other, f"another end, in {other[:9]}; {_told(kind, backup, lives, folder)}"
        self.counts["trainings"] += 1
        shutil.rmtree(folder)


def _told(kind, backup, lives, folder):
    return "\n".join([f"{kind}, {backup}, lives:", *lives, "said:", (folder / "stderr").read_text()])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--backups", nargs="+", choices=list(BACKUPS), default=list(BACKUPS))
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(argv)
    campaign, begun = Campaign(chosen.kinds, chosen.backups, chosen.seed), time.monotonic()

    def progress(counts):
        print(f"\r{counts['kills']} kills, {counts['trainings']} trainings", end="", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        campaign.run(chosen.kills, Path(folder), progress)
    counts, minutes = campaign.counts, (time.monotonic() - begun) / 60
    print(
        f"\r{counts['kills']} kills ({counts['in a save']} of them in a save) of {counts['trainings']} trainings in {minutes:.1f} "
        f"minutes: each ended bit for bit as an undisturbed one. Files of Keras's own callback were broken "
        f"{counts['files of Keras broken']} times."
    )


if __name__ == "__main__":
    main()
