"""Draw and update against the number of samples, and the memory that an importance keeps for each.

    python -m benchmarks.scale

Of batches of 128, without data to read: microseconds a step, medians over turns of 64 steps, and those over processes, in which the
sizes take turns. Memory is what the process holds more once the sampler has drawn, as Python's `tracemalloc` counts it; of "history
in a file" what the process held more at most, with the file as far as it was mapped.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from importance_sampling import HistoryImportance, ImportanceSampler

SIZES = (10**5, 10**6, 10**7, 10**8)
METHODS = ("uniform", "history", "history in a file")


class Nothing:
    """N samples without content."""

    targets = ()

    def __init__(self, size):
        self._size = size

    def __len__(self):
        return self._size

    def __getitem__(self, indices):
        empty = np.zeros((len(indices), 1), np.float32)
        return empty, empty, None


def microseconds(sampler, turns=40, steps=64):
    """Of a draw and an update: the median over turns."""
    values = np.random.default_rng(0).random(128)
    found = []
    for _ in range(turns):
        start = time.perf_counter()
        for _ in range(steps):
            draw = sampler.draw(128)
            sampler.update(draw, values, values)
        found.append((time.perf_counter() - start) / steps)
    return 1e6 * float(np.median(found[turns // 8 :]))


def peak():
    """Bytes that this process held at most, NaN but on Linux; `getrusage` would count the process that started it too."""
    status = Path("/proc/self/status")
    return np.nan if not status.exists() else 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text()).group(1))


def one(method, size):
    """Microseconds a step and bytes a sample, in this process."""
    if method == "history in a file":
        with tempfile.TemporaryDirectory() as directory:
            before = peak()
            sampler = ImportanceSampler(Nothing(size), HistoryImportance(directory=directory), seed=0, classes=0)
            found = microseconds(sampler)
            return found, (peak() - before) / size
    tracemalloc.start()
    sampler = ImportanceSampler(Nothing(size), method, seed=0, classes=0)
    sampler.draw(128)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()  # which would slow down what is timed
    return microseconds(sampler), held / size


def measured(methods=METHODS, sizes=SIZES, rounds=5):
    """Rows: dictionaries of `method`, `size`, `microseconds` and `bytes` a sample, medians of processes of their own."""
    found = {(method, size): [] for method in methods for size in sizes}
    for (method, size), values in rounds * list(found.items()):
        command = [sys.executable, "-m", "benchmarks.scale", "--one", method, str(size)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        values.append([float(value) for value in printed[-2:]])
    medians = {row: np.median(values, axis=0).tolist() for row, values in found.items()}
    return [{"method": method, "size": size, "microseconds": m, "bytes": b} for (method, size), (m, b) in medians.items()]


def table(rows):
    """Markdown."""
    lines = ["**Draw and update, batches of 128**", ""]
    lines += ["| method | samples | microseconds a step | bytes a sample |", "|---|---|---|---|"]
    for row in rows:
        held = f"{row['bytes']:.1f}" if row["size"] >= 10**7 else ""  # below, the process itself is more
        lines.append(f"| `{row['method']}` | {row['size']:,} | {row['microseconds']:.0f} | {held} |")
    return "\n".join([*lines, ""])


def run():
    rows = measured()
    print(table(rows), flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args().one
    if asked:
        print(*one(asked[0], int(asked[1])))
    else:
        run()
