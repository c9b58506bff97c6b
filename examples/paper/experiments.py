"""What each experiment of section 4 consists of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from examples.paper import data, networks
from importance_sampling import adaptive, additive


class Plan(NamedTuple):
    """What is run of an experiment at a scale: epochs in all, pairs of method and k, seeds, and epochs of each rate of the grid."""

    epochs: int
    runs: tuple[tuple[str, float], ...]
    seeds: tuple[int, ...]
    grid_epochs: int


@dataclass(frozen=True)
class Experiment:
    """One of the three data sets with its network and its settings.

    Attributes:
        title: how the paper calls it.
        data: loads it; a limit keeps the first images or sentences only.
        network: makes it.
        steps: mini-batches in an epoch, by the paper's definition.
        full: the runs of the paper.
        cpu: those that two CPU cores manage in a few nights.
        learning_rate: of Adam, until `python -m examples.paper mnist --grid` has found the best for uniform sampling.
        table: the epochs of Table 1.
        smoothing: of the scores; a function, since it has state.
        scored_at_once: candidates in one forward pass of the oracle. Convolutions of 1,024 images are slower here than
            eight of 128; the products of matrices in an LSTM are faster.
        drop_at: step at which the learning rate is divided by 10, or None.
        measure: `"error"` in percent or `"perplexity"`, of the test set.
        sorted_losses: whether the losses of the training samples are kept at the epochs of Table 1, for figure 1b.
        variance: from how many samples the variance of the weighted gradient is estimated after each epoch; 0 for not at all.
    """

    title: str
    data: Callable[..., Any]
    network: Callable[[], keras.Model]
    steps: int
    full: Plan
    cpu: Plan
    learning_rate: float
    table: tuple[int, ...]
    smoothing: Callable[[], Any]
    scored_at_once: int = 128
    drop_at: int | None = None
    measure: str = "error"
    sorted_losses: bool = False
    variance: int = 0

    def compiled(self, learning_rate):
        """The network with Adam, as in all experiments."""
        if self.drop_at is not None:
            rates = [learning_rate, learning_rate / 10]
            learning_rate = keras.optimizers.schedules.PiecewiseConstantDecay([self.drop_at], rates)
        model = self.network()
        model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def measured(self, loss, accuracy):
        """The measure from the mean loss and the accuracy on the test set."""
        return float(np.exp(loss)) if self.measure == "perplexity" else 100 * (1 - accuracy)


TABLE = (("uniform", 1.0), ("approx", 0.5), ("approx", 1.0), ("oracle", 0.5), ("oracle", 1.0))  # the columns of Table 1

EXPERIMENTS = {
    "mnist": Experiment(
        title="MNIST",
        data=data.mnist,
        network=networks.mnist,
        steps=300,
        full=Plan(20, (*TABLE, ("approx", 0.75), ("oracle", 0.75)), tuple(range(10)), 5),
        cpu=Plan(20, TABLE, (0, 1, 2), 3),
        learning_rate=1e-3,
        table=(5, 10, 20),
        smoothing=lambda: adaptive(0.5),  # section 4.1 names none: that of section 3.3.1, as in section 4.2
        sorted_losses=True,
    ),
    "cifar10": Experiment(
        title="CIFAR10",
        data=data.cifar10,
        network=networks.cifar10,
        steps=300,
        full=Plan(167, TABLE, (0, 1, 2), 50),
        # an hour for the oracle; after one epoch of the grid the moving statistics of batch normalisation are still behind
        cpu=Plan(4, (("uniform", 1.0), ("approx", 0.5), ("oracle", 0.5)), (0,), 2),
        learning_rate=1e-3,
        table=(50, 100, 150),
        smoothing=lambda: adaptive(0.5),
        drop_at=35_000,
        variance=256,
    ),
    "ptb": Experiment(
        title="Penn Treebank",
        data=data.penn_treebank,
        network=networks.penn_treebank,
        steps=2_000,
        full=Plan(50, (*TABLE, ("pcg", 0.5), ("pcg", 1.0)), (0, 1, 2), 10),
        cpu=Plan(10, (("uniform", 1.0), ("approx", 0.5), ("pcg", 0.5), ("oracle", 0.5)), (0,), 1),
        learning_rate=1e-3,
        table=(10, 30, 50),
        smoothing=lambda: additive(0.5),
        scored_at_once=1024,
        measure="perplexity",
        variance=256,
    ),
}
GRID = tuple(thousandth / 1000 for thousandth in range(1, 11))  # of learning rates, section 4
METHODS = ("uniform", "oracle", "approx", "pcg")
RESULTS = {scale: Path(__file__).parent / folder for scale, folder in (("cpu", "results"), ("full", "results-full"))}


def epochs_of(scale, epochs=None, names=tuple(EXPERIMENTS)):
    """To how many epochs the runs of each experiment are to come: `{experiment: epochs}`."""
    return {name: epochs or getattr(EXPERIMENTS[name], scale).epochs for name in names}
