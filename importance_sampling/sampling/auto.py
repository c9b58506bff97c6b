"""The importance that measurement chooses: the batches that are trained on tell what each of several would have made of them."""

import time
from collections import deque
from statistics import median

import numpy as np

from importance_sampling.arguments import number
from importance_sampling.importance.base import IMPORTANCES, Importance
from importance_sampling.importance.gaussian import PerClassGaussian
from importance_sampling.importance.lstm import LSTMImportance
from importance_sampling.importance.moving_mean import HistoryImportance
from importance_sampling.sampling.choice import Choice, decision
from importance_sampling.types import State

_EVERY = 100  # steps between decisions
_WORTH = 0.25  # of the variance of uniform sampling, that a choice must save to be made: not all of it is saved in time
_MARGIN = 0.05  # of it, that another choice must save besides
_PAUSE = 7  # pools at most, out of which one more is looked at while nothing pays
_LEAST = 0.25  # no batch of equal variance becomes smaller than that, of the given one
_TRIAL = 1000  # steps in which the dear choice must show that it is worth it
_COUNTED = ("steps", "looked_at", "pause", "paused")
_CHARGES = {"pcg": 0.01, "history": 0.02, "approx": 0.1}  # of a step, as they are on a step of some ten milliseconds


class Auto(Importance):
    """The one of several importances by which the gradient varies least, each charged with its time; uniform sampling if none pays.

    It begins as uniform sampling, one pass after the other, and learns from what is trained on anyway. Every hundred steps the
    batches tell what the second moment of the gradient would have been by the mean of the class, by the history of each sample, or
    by the LSTM, with the best of some smoothing constants (see `counterfactual_ratio`). To each is added its time, as a part of a
    step. The least sum is chosen if it is below three quarters of that of uniform sampling, 1: less is not worth it, since the time
    of a step falls less than its batch does, and what stays hard may be a wrong label. It goes back where the sum rises above 1.

    While nothing saves even a twentieth it looks at ever fewer batches, down to an eighth; the others are steps of plain uniform
    sampling, in which nothing is measured.

    The LSTM is tried where `choices` have it, for a thousand steps once another has shown a gain, and dropped if no better.

    With it go `k=1`, `smoothing=0` (it has its own) and `batch_size_rule="equal-variance"` where none are given.

    Args:
        choices (tuple, default ("pcg", "history")): names out of these and `"approx"`; `"pcg"` needs classes, or is left out, and
            `"approx"` another to begin with.
        charges (dict or "measured", default None): the time of each choice as a part of a plain step, by name. None takes 0.01,
            0.02 and 0.1. `"measured"` takes the time that passes: then decisions, and with them the training, may come out in
            another way with the same seed.

    Attributes:
        chosen (str): the name of the choice, now; `"uniform"` at first.
        decisions (list of str): a sentence about each change of mind, in order.
        ratios (dict): of each choice that was measured for 100 steps, the variance ratio that it would have had.

    Raises:
        ValueError: a choice is unknown, a charge is negative, or there is none; from `fit`, where the data leave none.

    Example:
        >>> import keras, numpy as np
        >>> from importance_sampling import ImportanceTraining
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(512, 4)).astype("float32"), rng.integers(0, 2, 512)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> training = ImportanceTraining(model, importance="auto", seed=0)
        >>> history = training.fit(x, y, batch_size=64, epochs=2, verbose=0)
        >>> training.sampler.importance.chosen
        'uniform'

    References:
        arXiv:2501.13296 (the estimate).
    """

    quantity = "gnorm"
    uses_indices = True
    uses_labels = True
    pool_batches = 64
    draws_ahead = 8
    learns_at_once = True
    defaults = {"k": 1.0, "smoothing": 0.0, "batch_size_rule": "equal-variance"}

    def __init__(self, choices=("pcg", "history"), charges=None):
        known = isinstance(choices, (tuple, list)) and all(isinstance(name, str) and name in _CHARGES for name in choices)
        if not (known and choices):
            raise ValueError(f"`choices` must be out of {', '.join(_CHARGES)}, at least one. Received: choices={choices!r}")
        if set(choices) == {"approx"}:
            raise ValueError(f"`choices` must have 'history' or 'pcg': 'approx' is tried after them. Received: choices={choices!r}")
        given = {} if charges is None or charges == "measured" else charges
        if not isinstance(given, dict) or set(given) - set(choices):
            rule = f"`charges` must be None, 'measured', or a dictionary with keys out of {', '.join(choices)}"
            raise ValueError(f"{rule}. Received: charges={charges!r}")
        for name, charge in given.items():
            number(f"charges[{name!r}]", charge, ">= 0", lambda charge: charge >= 0)
        self.choices = tuple(choices)
        self.charges = charges

    def bind(self, model):
        self._model = model

    def build(self, size, classes, seed):
        """Starts with nothing known of a data set."""
        self._size, self._classes, self._seed = size, classes, seed
        self.chosen, self.decisions = "uniform", []
        self._steps = self._looked_at = 0  # all, and those that were measured
        self._pause = self._paused = 0  # pools to leave out, and how many of them were
        self._batches = 1
        self._sizes = None  # of pool and batch, once they are known
        cheap = [name for name in self.choices if name == "history" or name == "pcg" and classes != 0]
        if not cheap:
            raise ValueError(f"`choices` must have 'history' on data without classes. Received: choices={self.choices!r}")
        self._judged = {name: self._choice(name) for name in cheap}
        self._trial = "approx" if "approx" in self.choices and classes is not None else None  # what was not tried yet
        self._trial_ends = None
        self._clock, self._spans, self._unmeasured = None, deque(maxlen=100), 0  # batches since the clock was read

    def prepare(self, pool_size, batch_size):
        self._sizes, self._clock = (pool_size, batch_size), None

    @property
    def chooses(self):
        return self.chosen != "uniform"

    @property
    def ratios(self):
        found = {name: choice.ratio for name, choice in self._judged.items()}
        return {name: ratio for name, ratio in found.items() if ratio is not None}

    def watches(self, batches):
        if self._paused < self._pause:
            self._paused += 1
            self._steps += batches
            self._unmeasured += batches
            return False
        self._paused = 0
        return True

    def score(self, pool):
        """Returns `(B,)` float64, smoothed: those of the choice; ones where that is uniform sampling."""
        return self._judged[self.chosen].smoothed(pool) if self.chooses else np.ones(len(pool))

    def judge(self, draw, gnorms):
        """Asks every choice what it would have made of this draw, before any of them learns from it."""
        self._batches = draw.batches
        for choice in self._judged.values():
            choice.judge(draw, gnorms)

    def relabel(self, labels):
        for choice in self._judged.values():
            choice.importance.relabel(labels)

    def update(self, indices, labels, values):
        """Lets every choice learn, then decides, if it is time for that."""
        for choice in self._judged.values():
            choice.learn(indices, labels, values, self._batches)
        self._time(self._batches)
        before, self._looked_at = self._looked_at, self._looked_at + self._batches
        self._steps += self._batches
        if self._looked_at // _EVERY > before // _EVERY:
            self._decide()

    def _choice(self, name):
        made = {
            "pcg": lambda: PerClassGaussian(quantity="gnorm"),
            "history": HistoryImportance,
            "approx": lambda: LSTMImportance(quantity="gnorm"),
        }[name]()
        made.bind(self._model)
        made.build(self._size, self._classes, self._seed)
        if self._sizes is not None:
            made.prepare(*self._sizes)
        return Choice(made, every=4 if name == "approx" else 1, decay=0.95 if name == "pcg" else None)

    def _decide(self):
        costs = {name: ratio + self._charge(name) for name, ratio in self.ratios.items()}
        if not costs or self._sizes and self._sizes[0] <= self._sizes[1]:  # a pool of one batch leaves no choice
            return
        best = min(costs, key=costs.get)
        now = costs.get(self.chosen, 1.0)
        if now > 1:
            self._change("uniform", costs)
            now = 1.0
        if best != self.chosen and costs[best] < now - (_MARGIN if self.chooses else _WORTH):
            if self._pause:  # looks at all of the next hundred, then decides
                self._pause = self._paused = 0
            else:
                self._change(best, costs)
        elif not self.chooses:
            self._pause = 0 if costs[best] < 1 - _MARGIN else min(2 * self._pause + 1, _PAUSE)
        self._try(costs)

    def _try(self, costs):
        """Begins or ends the trial of the dear choice."""
        name = self._trial
        if name is None:
            return
        if self._trial_ends is None:
            if self.chooses and self.ratios[self.chosen] > _LEAST + self._charge(name):
                self._judged[name] = self._choice(name)
                self._trial_ends = self._steps + _TRIAL
        elif self._steps >= self._trial_ends:
            self._trial = None
            if self.chosen != name:
                del self._judged[name]

    def _change(self, name, costs):
        ratios = {other: ratio for other, ratio in self.ratios.items() if other in costs}
        self.decisions.append(decision(name, self._steps, ratios, 0.0 if name == "uniform" else self._charge(name)))
        self.chosen = name

    def _charge(self, name):
        """The time of a choice, as a part of a step."""
        if self.charges == "measured" and name in self._judged and self._spans:
            step = median(self._spans) - sum(choice.seconds for choice in self._judged.values())
            return self._judged[name].seconds / max(step, 1e-6)
        given = self.charges if isinstance(self.charges, dict) else {}
        return given.get(name, _CHARGES[name])

    def _time(self, batches):
        now = time.perf_counter()
        if self._clock is not None:
            self._spans.append((now - self._clock) / (batches + self._unmeasured))
        self._clock, self._unmeasured = now, 0

    def get_state(self) -> State:
        mind = {"chosen": self.chosen, "trial": self._trial, "trial_ends": self._trial_ends}
        mind |= {name: getattr(self, f"_{name}") for name in _COUNTED}
        said = {str(i): sentence for i, sentence in enumerate(self.decisions)}
        return {**mind, "decisions": said, "choices": {name: choice.get_state() for name, choice in self._judged.items()}}

    def set_state(self, state):
        """Restores what `get_state` returned.

        Raises:
            ValueError: the state is of other choices, or of data of another size.
        """
        kept = state["choices"]
        unknown = set(kept) - set(self.choices)
        if unknown:
            rule = f"`state` must be of the choices {', '.join(self.choices)}"
            raise ValueError(f"{rule}. Received: one of {', '.join(sorted(unknown))}")
        self._judged = {name: self._choice(name) for name in self.choices if name in kept}
        for name, choice in self._judged.items():
            choice.set_state(kept[name])
        self.chosen = str(state["chosen"])
        vars(self).update({f"_{name}": int(state[name]) for name in _COUNTED})
        self._trial, self._trial_ends = state["trial"], state["trial_ends"]
        self.decisions = [str(state["decisions"][str(i)]) for i in range(len(state["decisions"]))]


IMPORTANCES.register("auto", Auto)
