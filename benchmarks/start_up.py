"""Seconds before the first step: importing the package, and what `fit` needs beyond plain `fit`.

    python -m benchmarks.start_up

Each figure is that of processes of their own, which take turns; medians. *Again* is a second object, with other data of another
length, for the same model in the same process; of plain `fit` it is a second call.
"""

import subprocess
import sys

import numpy as np

_IMPORT = "import time; s = time.perf_counter(); {}; print(time.perf_counter() - s)"
_FIT = """
from examples import quiet
import time, keras, numpy as np
from importance_sampling import ImportanceTraining
x, y = np.random.default_rng(0).normal(size=(4096, 20)).astype("float32"), np.arange(4096) % 10
layers = [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")]
model = keras.Sequential([keras.Input((20,)), *layers])
model.compile("adam", "sparse_categorical_crossentropy")
model.predict(x[:1], verbose=0)
for rows in (4096, 3000):
    start = time.perf_counter()
    {}.fit(x[:rows], y[:rows], steps_per_epoch=1, verbose=0)
    print(time.perf_counter() - start)
"""
ROWS = {
    "import tensorflow, keras": _IMPORT.format("import tensorflow, keras"),
    "import importance_sampling": _IMPORT.format("import importance_sampling"),
    "fit, plain": _FIT.format("model"),
    **{
        f"fit, {name}": _FIT.format(f'ImportanceTraining(model, "{name}", seed=0)')
        for name in ("uniform", "history", "pcg", "approx", "oracle")
    },
}


def measured(rounds):
    """Median seconds of what each row prints: `{name: [seconds, seconds again]}`."""
    found = {name: [] for name in ROWS}
    for _ in range(rounds):
        for name, code in ROWS.items():
            printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            found[name].append([float(seconds) for seconds in printed.split()])
    return {name: np.median(seconds, axis=0).tolist() for name, seconds in found.items()}


def table(found):
    """Markdown; `fit` as what is beyond plain `fit`."""
    package = found["import importance_sampling"][0] - found["import tensorflow, keras"][0]
    plain, plain_again = found["fit, plain"]
    lines = ["**Start-up**", "", "| what | seconds | again |", "|---|---|---|"]
    lines.append(f"| import, beyond TensorFlow and Keras | {package:.2f} | |")
    lines.append(f"| first step of plain `fit` | {plain:.2f} | {plain_again:.2f} |")
    for name, seconds in found.items():
        if name.startswith("fit, ") and name != "fit, plain":
            lines.append(f"| `{name[5:]}`, beyond plain `fit` | {seconds[0] - plain:.2f} | {seconds[1] - plain_again:.2f} |")
    return "\n".join([*lines, ""])


def run(rounds=5):
    found = measured(rounds)
    print(table(found), flush=True)
    return found


if __name__ == "__main__":
    run()
