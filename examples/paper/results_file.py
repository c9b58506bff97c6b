"""The results file of a run, and the checkpoint that it goes on from.

A results file has one JSON line for the settings and then one for each evaluation. Beside it, outside the repository, a
checkpoint holds model, optimizer and what was learnt about the samples, so that a run that was killed goes on, bit for bit.
"""

import contextlib
import functools
import json
import os
import pickle
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from filelock import FileLock, Timeout

import importance_sampling


class Refused(RuntimeError):
    """A results file that cannot be read, gone on with, or compared with others."""


@dataclass(frozen=True)
class Settings:
    """What tells a run from others of its experiment; `limit` keeps the first samples only, for a quick look."""

    experiment: str
    method: str
    k: float
    seed: int
    learning_rate: float = 1e-3
    batch_size: int = 128
    presample: int = 1024
    steps: int = 300
    limit: int | None = None

    @property
    def name(self):
        """Names the results file: uniform sampling has no k."""
        k = "" if self.method == "uniform" else f"-k{self.k:g}"
        return f"{self.experiment}-{self.method}{k}-lr{self.learning_rate:g}-seed{self.seed}"


class Results:
    """The results file of a run, and its checkpoint.

    Args:
        settings: of the run.
        folder: of the results files.
        checkpoints: folder of the checkpoints.

    Raises:
        Refused: there is a results file of that name with other settings, or one that cannot be read; nothing is appended to it.
    """

    def __init__(self, settings, folder, checkpoints):
        self.settings = settings
        self.path = Path(folder) / f"{settings.name}.jsonl"
        self._checkpoint = Path(checkpoints) / settings.name
        self.first = {"settings": asdict(settings), "versions": versions(), "cores": os.cpu_count(), "commit": commit()}
        self.lines = []
        if self.path.exists():
            self.first, *self.lines = read_lines(self.path)
            self._check(self.path, self.first["settings"])

    @property
    def epochs(self):
        """Epochs that are done."""
        return self.lines[-1]["epoch"] if self.lines else 0

    @contextlib.contextmanager
    def locked(self):
        """A context in which no other process can train this run.

        Raises:
            Refused: another process does.
        """
        self._checkpoint.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._checkpoint / "lock", blocking=False):
                yield
        except Timeout:
            raise Refused(f"{self.path} must be written by one process at a time. Received: one that another is writing") from None

    def load(self, model):
        """Puts the model where it was at the last evaluation, and returns the state of the sampler there.

        A line that was not written any more when the run was killed is in the checkpoint, and is written now. Returns None
        where the run has to start anew.

        Raises:
            Refused: the checkpoint is of other settings or versions, behind the results file, or missing.
        """
        kept = sorted(self._checkpoint.glob("epoch-*[0-9]"), key=lambda path: int(path.name.partition("-")[2]))
        if not kept:
            self._refuse_to_start_over()
            return None
        state = pickle.loads(kept[-1].read_bytes())
        self._check(self._checkpoint, state["first"]["settings"])
        self._refuse_other_versions(state["first"]["versions"])
        if len(state["lines"]) < len(self.lines):
            raise Refused(f"{self.path} must not be ahead of its checkpoint. Received: {kept[-1]}")
        self.first, self.lines = state["first"], state["lines"]
        self._write()
        for variable, value in zip(_variables(model), state["model"]):
            variable.assign(value)
        return state["sampler"]

    def add(self, line, model, state):
        """Keeps a checkpoint, then the line, with the commit that it is of where that is not the one of the first."""
        now = commit()
        self.lines.append(line if now == self.first.get("commit") else line | {"commit": now})
        values = [v.numpy() for v in _variables(model)]
        kept = {"first": self.first, "lines": self.lines, "sampler": state, "model": values}
        path = self._checkpoint / f"epoch-{line['epoch']}"
        replace_file(path, pickle.dumps(kept))
        self._write()
        for other in self._checkpoint.glob("epoch-*"):
            if other != path:
                other.unlink()

    def _check(self, where, settings):
        other = sorted(name for name, value in asdict(self.settings).items() if settings.get(name) != value)
        if other:
            raise Refused(f"{where} must have the settings of this run, to go on with it. Received: other {', '.join(other)}")

    def _refuse_other_versions(self, begun):
        now = versions()
        other = [f"{name} {now[name]}, not {begun.get(name)}" for name in now if now[name] != begun.get(name)]
        if other:
            raise Refused(
                f"{self.path} must go on under the versions it was begun with; to start anew, remove it and {self._checkpoint}. "
                f"Received: {'; '.join(other)}"
            )

    def _refuse_to_start_over(self):
        if self.lines:
            raise Refused(
                f"{self.path} must have its checkpoint in {self._checkpoint}, to go on with it; to start anew, remove it or name "
                f"another folder with --results. Received: {len(self.lines)} evaluations without a checkpoint"
            )

    def _write(self):
        replace_file(self.path, "".join(json.dumps(line) + "\n" for line in (self.first, *self.lines)).encode())


def read_lines(path):
    """The lines of a results file, the settings first.

    Raises:
        Refused: it is no results file.
    """
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[0]["settings"]
    except (json.JSONDecodeError, LookupError, TypeError):
        raise Refused(f"{path} must have the settings of a run and its evaluations in lines of JSON. Received: others") from None
    return lines


def versions():
    """Of what the numbers of a run depend on. The kernels of oneDNN round differently from others of TensorFlow."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "importance_sampling": importance_sampling.__version__,
        "oneDNN": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "by default"),
    }


@functools.cache
def commit(folder=Path(__file__).parent):
    """Of the code in `folder`, with "-dirty" where it has changed since, results set aside; None outside of a repository."""

    def git(*command):
        return subprocess.run(["git", "-C", folder, *command], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude)results")
        return git("describe", "--always") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def replace_file(path, content):
    """Writes a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


def _variables(model):
    """All that a training step changes: weights, states of random generators, and the optimizer's."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]
