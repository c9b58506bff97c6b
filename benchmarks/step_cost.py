"""What a step of each method costs, as a ratio to a step of plain `model.fit` in the same run.

    python -m benchmarks.step_cost

Networks and data: `benchmarks.cases`. Each method has its default pool. All methods take turns of a few steps,
so that a change of the machine's speed meets all of them. Ratios are taken turn by turn against the plain turn beside it; their
median is the figure, their quartiles tell the noise.
"""

import argparse
import time

import keras
import numpy as np

from benchmarks.cases import AHEAD, CASES, METHODS
from examples import options
from importance_sampling import ImportanceTraining

# steps that do not count: "approx" learns from each of the first 512 batches, and then predicts all anew; "auto" sees all samples
BEFORE = {"approx": 1100, "auto": 1100}


def turns(case, x, y, methods, rounds, steps):
    """Median seconds a step of each method in each round: `(rounds, len(methods))`."""
    fits = []
    for method in methods:
        keras.utils.set_random_seed(0)
        model = case.network()
        model.compile(keras.optimizers.Adam(1e-3), case.loss)
        fits.append(_trainer(method, model, case).fit)
    seconds = np.empty((rounds, len(methods)))
    given = case.given(x, y)
    for turn in range(-1, rounds):  # the first turn compiles and does not count
        for column, (method, fit) in enumerate(zip(methods, fits)):
            clock, count = _Clock(), BEFORE.get(method, steps) if turn < 0 else steps
            fit(**given, steps_per_epoch=count, verbose=0, callbacks=[clock])
            if turn >= 0:
                seconds[turn, column] = clock.seconds() / (steps - SKIPPED)
    return seconds


def _trainer(method, model, case):
    if method == "plain":
        return model
    importance = method.removesuffix(" at first").removesuffix(", reading ahead")
    return ImportanceTraining(model, importance, map=case.map, read_ahead=method == AHEAD, seed=0)


SKIPPED = 2  # steps of a turn, in which the data begin to flow


class _Clock(keras.callbacks.Callback):
    """Seconds from the end of the second step to the end of the last, data included."""

    def __init__(self):
        super().__init__()
        self._ends = []

    def on_train_batch_end(self, batch, logs=None):
        self._ends.append(time.perf_counter())

    def seconds(self):
        return self._ends[-1] - self._ends[SKIPPED - 1]


def measured(case, methods, rounds, steps):
    """Rows of a case: dictionaries of `method`, `ms` a step and the quartiles of its `ratio` to the first, mostly plain Keras."""
    methods = [case.beside, *(method for method in methods if method in case.methods)]
    seconds = turns(case, *case.data(), methods, rounds, steps)
    ratios = np.percentile(seconds / seconds[:, :1], [25, 50, 75], axis=0)
    return [
        {"method": method, "ms": 1000 * float(np.median(seconds[:, column])), "ratio": ratios[:, column].round(4).tolist()}
        for column, method in enumerate(methods)
    ]


def table(title, rows):
    """Markdown."""
    lines = [f"**{title}**", "", "| method | ms a step | ratio | quartiles |", "|---|---|---|---|"]
    for row in rows:
        low, middle, high = row["ratio"]
        quartiles = "" if row is rows[0] else f"{low:.3f} to {high:.3f}"
        lines.append(f"| {row['method']} | {row['ms']:.2f} | {middle:.3f} | {quartiles} |")
    return "\n".join([*lines, ""])


def add_arguments(parser):
    options.add_methods(parser, default=[*METHODS, AHEAD])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=22, help="steps of a turn; the first two do not count")


def run(chosen):
    """Prints the table of each case as it is done. Returns all rows by case."""
    found = {}
    for name in chosen.cases:
        found[name] = measured(CASES[name], chosen.methods, chosen.rounds, chosen.steps)
        print(table(CASES[name].title, found[name]), flush=True)
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    main()
