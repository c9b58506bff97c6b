"""An importance of one's own, and what it may read."""

import numpy as np
import pytest

from importance_sampling import (
    ImportanceTraining,
    PerClassGaussian,
)
from tests.models import classifier

N = 96
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2)).astype(np.float32)
Y = np.arange(N) % 3


def test_the_oracle_reads_each_candidate_once():
    reads = []

    class Items:
        def __len__(self):
            return N

        def __getitem__(self, i):
            reads.append(i)
            return X[i], Y[i]

    training = ImportanceTraining(classifier(), "oracle", presample=48, seed=0)
    training.fit(Items(), batch_size=16, steps_per_epoch=2, verbose=0)
    looks = len(reads) - 2 * 48  # at the first samples, for shapes
    assert looks == 16 and len(set(reads[looks : looks + 48])) == 48


def test_an_importance_of_ones_own_is_told_what_it_lacks():
    class Own(PerClassGaussian):
        pass

    own = Own()
    own.quantity = "entropy"
    with pytest.raises(
        ValueError, match="`importance.quantity` must be None or one of loss, gnorm, full_gnorm. Received: quantity='entropy'"
    ):
        ImportanceTraining(classifier(), own)

    class Half:
        quantity = "loss"

        def score(self, pool):
            return np.ones(len(pool))

    with pytest.raises(
        ValueError,
        match="`importance` must have bind, build, .*, update, .* defaults of all but score, update. Received: Half without",
    ):
        ImportanceTraining(classifier(), Half())
