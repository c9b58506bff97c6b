"""The ways to train that are compared at seconds to a result: uniform, two controls, two peers, and ours.

Controls and peers get as many samples as ours took in the same problem and seed, in smaller batches or in fewer updates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from importance_sampling import ConstantVarianceImportanceTraining, Importance, ImportanceTraining, Oracle


@dataclass(frozen=True)
class Method:
    """A way to train.

    Attributes:
        title: as it stands in a table.
        trainer: maps a compiled model, the number of updates, a seed and `on_step` to an object with `fit`.
        steps, batch: maps the fraction of samples that ours took to the fraction of updates, and of the batch, that it gets.
        waits: whether that fraction must be known.
    """

    title: str
    trainer: Callable
    steps: Callable = lambda fraction: 1.0
    batch: Callable = lambda fraction: 1.0
    waits: bool = True


class InfoBatch(Importance):
    """InfoBatch's rule (arXiv:2303.04947) as an importance: of what lost less than the mean a half is drawn, and counts twice.

    For the last eighth of the updates all samples are drawn alike.
    """

    uses_indices = True
    pool_batches = 64

    def __init__(self, updates):
        self._updates, self._done = updates, 0

    def build(self, size, classes, seed):
        self._losses = np.full(size, np.inf, np.float32)  # what was not seen yet is kept

    def score(self, pool):
        if self._done >= 0.875 * self._updates:
            return np.ones(len(pool))
        seen = np.isfinite(self._losses[pool.indices])
        mean = self._losses[pool.indices][seen].mean() if seen.any() else 0.0
        return np.where(self._losses[pool.indices] < mean, 0.5, 1.0)

    def update(self, indices, labels, values):
        self._losses[indices], self._done = values, self._done + 1


def hardest(scores, b, rng):
    """The b candidates with the highest scores."""
    positions = np.argsort(-scores, kind="stable")[:b]
    expected = np.zeros(len(scores))
    expected[positions] = 1.0
    return positions, expected


class HardestHalf:
    """Selective backprop in its plainest form: of each two batches the half with the higher losses, by a forward pass."""

    def __init__(self, model, updates, seed, on_step):
        self._model, self._seed, self._on_step = model, seed, on_step

    def fit(self, x, y, batch_size, **arguments):
        training = ImportanceTraining(
            self._model,
            Oracle(batch_size=2 * batch_size),
            presample=2 * batch_size,
            smoothing=0.0,
            draws=hardest,
            pools="permutation",
            reweighting=lambda expected, chosen, k: np.ones(len(chosen)),
            seed=self._seed,
            on_step=self._on_step,
        )
        return training.fit(x, y, batch_size=batch_size, **arguments)


def _infobatch(model, updates, seed, on_step):
    return ImportanceTraining(model, InfoBatch(updates), k=1.0, smoothing=0.0, seed=seed, on_step=on_step)


def _ours(k):
    def trainer(model, updates, seed, on_step):
        return ConstantVarianceImportanceTraining(model, k=k, seed=seed, on_step=on_step)

    return trainer


def _uniform(model, updates, seed, on_step):
    """Not plain `fit`: after `keras.utils.set_random_seed` that replays one order of the data in every epoch, and learns less."""
    return ImportanceTraining(model, "uniform", seed=seed)


def _same(fraction):
    return fraction


def _auto(model, updates, seed, on_step):
    return ImportanceTraining(model, "auto", seed=seed, on_step=on_step)


METHODS = {
    "uniform": Method("uniform sampling", _uniform, waits=False),
    "ours": Method("ours, k = 1", _ours(1.0), waits=False),
    "auto": Method('`importance="auto"`', _auto, waits=False),
    "ours_half": Method("ours, k = 0.5", _ours(0.5), waits=False),
    "smaller": Method("control: smaller batches", _uniform, batch=_same),
    "shorter": Method("control: fewer updates", _uniform, steps=_same),
    "infobatch": Method("InfoBatch's rule", _infobatch, batch=_same),
    "hardest": Method("the hardest half", HardestHalf, batch=_same),
}
