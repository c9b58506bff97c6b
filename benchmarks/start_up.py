"""Seconds before the first step: importing the package, and what `fit` needs beyond plain `fit`.

    python -m benchmarks.start_up

Each figure is that of processes of their own, which take turns; medians.
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
start = time.perf_counter()
{}.fit(x, y, steps_per_epoch=1, verbose=0)
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
    """Median seconds of each row: `{name: seconds}`."""
    found = {name: [] for name in ROWS}
    for _ in range(rounds):
        for name, code in ROWS.items():
            printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            found[name].append(float(printed.split()[-1]))
    return {name: float(np.median(seconds)) for name, seconds in found.items()}


def table(found):
    """Markdown; `fit` as what is beyond plain `fit`."""
    package = found["import importance_sampling"] - found["import tensorflow, keras"]
    lines = ["**Start-up**", "", "| what | seconds |", "|---|---|"]
    lines.append(f"| import, beyond TensorFlow and Keras | {package:.2f} |")
    lines.append(f"| first step of plain `fit` | {found['fit, plain']:.2f} |")
    for name, seconds in found.items():
        if name.startswith("fit, ") and name != "fit, plain":
            lines.append(f"| `{name[5:]}`, beyond plain `fit` | {seconds - found['fit, plain']:.2f} |")
    return "\n".join([*lines, ""])


def run(rounds=5):
    found = measured(rounds)
    print(table(found), flush=True)
    return found


if __name__ == "__main__":
    run()
