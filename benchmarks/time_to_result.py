"""Seconds and samples to the result of uniform training, with a decayed learning rate, both controls and two peers.

    python -m benchmarks.time_to_result                          # all that is missing, then the table and the picture
    python -m benchmarks.time_to_result --problems rare --seeds 0
    python -m benchmarks.time_to_result --report                 # of the results there are

Every training is a process of its own, and writes one file when it is done; what has a file is not run again. Those of a problem
and seed follow one another, and ratios are taken within them.
"""

import argparse
import datetime
import itertools
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from examples import options

RESULTS = Path(__file__).parent / "results"
PICTURE = Path("build/time_to_result.png")


def result_file(results, problem, method, seed):
    return results / f"{problem}-{method}-{seed}.json"


def result(results, problem, method, seed):
    """The record of a run that was done, or None."""
    path = result_file(results, problem, method, seed)
    return json.loads(path.read_text()) if path.exists() else None


def fraction(results, problem, seed):
    """The part of uniform sampling's samples that ours took, or None where one of them was not run."""
    ours, uniform = (result(results, problem, method, seed) for method in ("ours", "uniform"))
    return ours["samples"] / uniform["samples"] if ours and uniform else None


def machine(threads):
    """What the seconds of a run depend on."""
    import keras
    import tensorflow as tf

    import importance_sampling

    versions = {"importance_sampling": importance_sampling.__version__, "keras": keras.__version__, "tensorflow": tf.__version__}
    hardware = {"cores": os.cpu_count(), "threads": threads, "processor": platform.machine(), "system": platform.system()}
    return {"versions": {**versions, "python": platform.python_version()}, "hardware": hardware, "date": str(datetime.date.today())}


def run(problem, method, seed, results, threads):
    """One training in this process; writes its file."""
    import tensorflow as tf

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    from benchmarks.methods import METHODS
    from benchmarks.problems import PROBLEMS
    from benchmarks.runs import train

    found = train(PROBLEMS[problem], METHODS[method], seed, fraction(results, problem, seed))
    found = {"problem": problem, "method": method, **found, **machine(threads)}
    write(found, results)


def write(found, results):
    """Keeps the record of a run, whole or not at all."""
    path = result_file(results, found["problem"], found["method"], found["seed"])
    written = path.with_suffix(".part")
    written.write_text(json.dumps(found, indent=1) + "\n")
    written.replace(path)


def run_all(chosen):
    """Runs what is missing, each in a process of its own, `chosen.jobs` at once."""
    from benchmarks.methods import METHODS
    from benchmarks.problems import PROBLEMS

    def of_seed(problem, seed):
        methods = [method for method in chosen.methods if method in (PROBLEMS[problem].methods or METHODS)]
        methods = sorted(methods, key=lambda method: METHODS[method].waits)  # the others need the samples of ours
        for method in methods:
            if result(chosen.results, problem, method, seed) is not None:
                continue
            if METHODS[method].waits and fraction(chosen.results, problem, seed) is None:
                raise SystemExit(f"--methods must have uniform and ours before {method}. Received: {chosen.methods}")
            print(f"{problem}, seed {seed}: {METHODS[method].title} ...", flush=True)
            settings = {"run": method, "problems": problem, "seeds": seed, "results": chosen.results, "threads": chosen.threads}
            command = [text for name, value in settings.items() if value is not None for text in (f"--{name}", str(value))]
            subprocess.run([sys.executable, "-m", "benchmarks.time_to_result", *command], check=True)
            found = result(chosen.results, problem, method, seed)
            print(
                f"{problem}, seed {seed}: {METHODS[method].title}: {found['samples']} samples, {found['seconds']:.0f} s, "
                f"error {found['error']:.2f} %, loss {found['loss']:.4f}",
                flush=True,
            )

    with ThreadPoolExecutor(chosen.jobs) as pool:
        list(pool.map(of_seed, *zip(*itertools.product(chosen.problems, chosen.seeds))))


def arguments(argv):
    from benchmarks.methods import METHODS
    from benchmarks.problems import PROBLEMS

    parser = argparse.ArgumentParser(description="Seconds and samples to the result of uniform training.")
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    options.add_methods(parser, choices=list(METHODS), default=list(METHODS))
    options.add_seeds(parser, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of the results files")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once; more disturb each other")
    parser.add_argument("--threads", type=int, help="of each training; all cores by default")
    parser.add_argument("--run", choices=list(METHODS), help=argparse.SUPPRESS)
    parser.add_argument("--picture", type=Path, default=PICTURE, help="PNG file to draw errors against samples and seconds into")
    parser.add_argument("--report", action="store_true", help="table and picture of the results there are, without running")
    return parser.parse_args(argv)


def main(argv=None):
    chosen = arguments(argv)
    for folder in (chosen.results, chosen.picture.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if chosen.run:
        run(chosen.problems[0], chosen.run, chosen.seeds[0], chosen.results, chosen.threads)
        return
    if not chosen.report:
        run_all(chosen)
    from benchmarks import time_report

    print(time_report.table(chosen))
    found = time_report.found(chosen)
    if found:
        time_report.picture(found, chosen.picture)
        print(f"Test error against samples and seconds: {chosen.picture}")


if __name__ == "__main__":
    main()
