"""Loss and exact gradient norm of single samples during training (appendix A.2, figure 4).

    python -m examples.paper.norms mnist

Writes one line into `<experiment>-norms.jsonl` in the folder of the results files. Dropout is off for both, and batch
normalisation uses its moving statistics, as when samples are scored: else there is no gradient of a single sample.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr

from examples.datasets import DataUnavailable
from examples.paper.experiments import EXPERIMENTS, RESULTS
from examples.paper.measures import short
from examples.paper.reading import rate_of
from examples.paper.results_file import commit, replace_file, versions
from importance_sampling import ArraySource, ItemSource, Oracle, Pool

SAMPLES = 20_000
WINDOW = 50  # samples of the moving average
POINTS = 500  # of the curve that are kept


def measured(model, source, samples, seed=0, batch_size=128):
    """Trains uniformly, and takes loss and gradient norm of each sample just before the step that it is in.

    Returns:
        losses and norms of the first samples, at least `samples`, in whole batches, and which samples they are:
        `(steps, batch_size)` each.
    """
    oracles = Oracle(model), Oracle(model, quantity="full_gnorm")
    order, steps = np.random.default_rng(seed).permutation(len(source)), -(-samples // batch_size)
    found, which = [], []
    for step in track(range(steps), model.name):
        indices = np.take(order, np.arange(step * batch_size, (step + 1) * batch_size), mode="wrap")
        x, y, _ = source[indices]
        pool = Pool(indices, None, lambda part, x=x, y=y: (x[part], y[part], None))
        found.append([oracle.score(pool) for oracle in oracles])
        which.append(indices)
        model.train_on_batch(x, y)
    return *np.stack(found, axis=1), np.stack(which)


def summary(losses, norms, samples=SAMPLES):
    """What figure 4 shows: the losses in the order of the norms, each divided by the mean norm of its batch.

    Args:
        losses, norms: `(steps, batch_size)`.
        samples: how many of the first are kept.

    Returns:
        a dictionary: moving mean and deviation over 50 samples at 500 evenly spaced places; Spearman's rank correlation of all
        samples; and what `within_batches` finds.
    """
    by_batch = within_batches(losses, norms)
    norms = (norms / norms.mean(axis=1, keepdims=True)).ravel()[:samples]
    losses = losses.ravel()[:samples]
    windows = np.lib.stride_tricks.sliding_window_view(losses[np.argsort(norms, kind="stable")], min(WINDOW, len(losses)))
    kept = np.unique(np.linspace(0, len(windows) - 1, POINTS).round().astype(int))
    return {
        "samples": len(losses),
        "rank_correlation": short(spearmanr(losses, norms).statistic),
        **by_batch,
        "mean_loss": short(losses.mean()),
        "places": kept.tolist(),
        "means": [short(value) for value in windows[kept].mean(axis=1)],
        "deviations": [short(value) for value in windows[kept].std(axis=1)],
    }


def within_batches(losses, norms):
    """Of each batch by itself, since losses and norms change as the network learns; mean and standard error over the batches.

    Args:
        losses, norms: of the samples of each batch; batches may differ in size.

    Returns:
        a dictionary: Spearman's rank correlation, and how far the loss of the tenth of the lowest and of the highest norms is above
        the mean of the batch.
    """
    correlations, lowest, highest = [], [], []
    for batch_losses, batch_norms in zip(losses, norms):
        tenth = max(1, len(batch_losses) // 10)
        by_norm = batch_losses[np.argsort(batch_norms)] - np.mean(batch_losses)
        correlations.append(spearmanr(batch_losses, batch_norms).statistic)
        lowest.append(by_norm[:tenth].mean())
        highest.append(by_norm[-tenth:].mean())
    return {
        "rank_correlation_within_batches": _told(correlations),
        "lowest_norms_above_the_mean": _told(lowest),
        "highest_norms_above_the_mean": _told(highest),
    }


def _with_context(losses, norms, contexts):
    """Without the first words of the sentences, which have no word before them: for these the network is its last bias alone.

    Args:
        losses, norms: `(steps, batch_size)`.
        contexts: ids of the words before, 0 for none, `(steps, batch_size, words)`.

    Returns:
        losses and norms of the others, a list of batches each.
    """
    kept = contexts.any(axis=-1)
    return [batch[others] for batch, others in zip(losses, kept)], [batch[others] for batch, others in zip(norms, kept)]


def _told(values):
    """Mean and standard error."""
    return [short(np.mean(values)), short(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0]


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m examples.paper.norms", description="Figure 4 of arXiv:1706.00043.")
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "all"], help="the data set with its network")
    parser.add_argument("--scale", choices=RESULTS, default="cpu", help="in whose folder the results file is")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="in place of 20,000; with --results")
    parser.add_argument("--seed", type=int, default=0, help="with --results")
    parser.add_argument("--limit", type=int, help="only the first images or sentences, for a quick look; with --results")
    parser.add_argument("--results", type=Path, help="folder of the results files, in place of that of the scale")
    chosen = parser.parse_args(argv)
    for name, least in (("samples", 1), ("seed", 0), ("limit", 1)):
        value = getattr(chosen, name)
        if value is not None and value < least:
            parser.error(f"--{name} must be >= {least}. Received: {value}")
    if not chosen.results and (chosen.samples, chosen.seed, chosen.limit) != (SAMPLES, 0, None):
        parser.error("--samples, --seed and --limit must come with --results: the usual folder has 20,000 samples of all, seed 0")
    chosen.results = chosen.results or RESULTS[chosen.scale]
    console = Console(soft_wrap=True)
    try:
        names = EXPERIMENTS if chosen.experiment == "all" else [chosen.experiment]
        loaded = {name: EXPERIMENTS[name].data(chosen.limit) for name in names}
    except DataUnavailable as error:
        console.print(str(error), style="bold red", markup=False)
        return 1
    for name, data in loaded.items():
        path, rate = chosen.results / f"{name}-norms.jsonl", rate_of(chosen.results, name)
        settings = {"seed": chosen.seed, "samples": chosen.samples, "limit": chosen.limit, "learning_rate": rate}
        if path.exists() and settings.items() <= json.loads(path.read_text()).items():
            console.print(f"{path} is there already; remove it to make it again")
            continue
        keras.utils.set_random_seed(chosen.seed)
        model = EXPERIMENTS[name].compiled(rate)
        source = (ArraySource if isinstance(data.x, np.ndarray) else ItemSource)(data.x, data.y)
        began = time.perf_counter()
        losses, norms, indices = measured(model, source, chosen.samples, chosen.seed)
        found = summary(losses, norms, chosen.samples)
        if name == "ptb":
            found["with_context"] = within_batches(*_with_context(losses, norms, data.x[indices]))
        line = settings | {"versions": versions(), "commit": commit()} | found | {"seconds": round(time.perf_counter() - began, 1)}
        replace_file(path, (json.dumps(line) + "\n").encode())
        console.print(f"{EXPERIMENTS[name].title}: rank correlation {line['rank_correlation']:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
