"""A user's own importance, smoothing, drawing rule and batch-size rule, by name, without an edit anywhere else."""

import numpy as np
import pytest

from importance_sampling import BatchSizeRule, Drawing, Importance, LossHistory, Smoothing, register, registered
from tests.contracts import cases, id_of


@register("importance", "outsider's last loss")
class LastLoss(Importance):
    """What a sample lost when it was last trained on; the mean of the last batch where it was not yet."""

    uses_indices = True

    def build(self, size, classes, seed):
        self.history, self.mean = LossHistory(size, length=1), 1.0

    def score(self, pool):
        losses, count = self.history.window(pool.indices)
        return np.where(count > 0, losses[:, 0], self.mean)

    def update(self, indices, labels, values):
        self.history.append(indices, values)
        finite = values[np.isfinite(values)]
        if len(finite):
            self.mean = finite.mean()

    def get_state(self):
        return {"history": self.history.get_state(), "mean": self.mean}

    def set_state(self, state):
        self.history.set_state(state["history"])
        self.mean = state["mean"]


@register("smoothing", "outsider's cap")
class Cap(Smoothing):
    """Nothing counts more than three times the mean, nor less than a tenth of it."""

    def __call__(self, scores):
        mean = scores.mean()
        return np.clip(scores, 0.1 * mean, 3 * mean)


@register("draws", "outsider's half uniform")
class HalfUniform(Drawing):
    """The first half of the batch is drawn uniformly, the second by the scores."""

    def draw(self, scores, b, rng):
        half = b // 2
        uniform = rng.integers(len(scores), size=half)
        chosen = rng.choice(len(scores), b - half, p=scores)
        return np.concatenate([uniform, chosen]), half / len(scores) + (b - half) * scores


@register("batch_size_rule", "outsider's effective size")
class EffectiveSize(BatchSizeRule):
    """A quarter of the batch where a few candidates have all of the importance, all of it where they are equal."""

    def batch_size(self, info):
        if info.scores is None:
            return info.batch_size
        spread = 1 / np.sum(info.scores**2) / info.pool_size  # 1 where all are equal
        return max(1, int(np.ceil(info.batch_size * (0.25 + 0.75 * min(spread, 1.0)))))


MINE = {"importance": "last loss", "smoothing": "cap", "draws": "half uniform", "batch_size_rule": "effective size"}
MINE = {kind: f"outsider's {name}" for kind, name in MINE.items()}


@pytest.mark.parametrize(("check", "names"), cases(lambda kind: [MINE[kind]] if kind in MINE else []), ids=id_of)
def test_contract(check, names):
    check(*names)


def test_they_are_among_the_names():
    assert all(name in registered(kind) for kind, name in MINE.items())
