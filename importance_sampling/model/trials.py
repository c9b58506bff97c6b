"""Made-up outputs and targets for looking at a loss: random, but of the kind that the model and the data have."""

import keras
import numpy as np

from importance_sampling.data.structures import map_arrays


def random_outputs(outputs, rng, wide, end=None, small=False):
    """Other outputs for the same samples.

    Args:
        outputs: structure of arrays `(n, ...)`, the model's own; arrays that are no floats stay as they are.
        rng: numpy Generator.
        wide: whether they may be far from the model's own, or stay about them. Outputs in [0, 1] stay there, and rows that sum
            to 1 do so where wide.
        end: None, or `"high"` or `"low"` for wide outputs that are far off at one end.
        small: whether those that are not wide are small, inside of any margin; outputs in [0, 1] are not changed by it.
    """
    change = lambda leaf: _wide(leaf, rng, end) if wide else _near(leaf, rng, small)  # noqa: E731
    return map_arrays(lambda leaf: change(leaf) if _is_float(leaf) else leaf, outputs)


def random_targets(targets, outputs, rng, end=None, own=0.5):
    """Other targets of the same kind: class ids, one-hot rows, or numbers between those of the data, 0 and 1.

    Args:
        targets: structure of arrays `(n, ...)`.
        outputs: the model's outputs, whose shapes tell class ids.
        rng: numpy Generator.
        end: None, or `"high"` or `"low"` for targets at one end: the last or first class, numbers above or below the others.
        own: the share of numbers that are the data's own, such as a mark of what is missing.
    """
    shapes = [leaf.shape for leaf in keras.tree.flatten(outputs) if leaf is not None and leaf.ndim]
    return map_arrays(lambda leaf: _targets(leaf, shapes, rng, end, own), targets)


def _near(leaf, rng, small):
    """Different outputs for every sample, also where a fresh model gives the same for all."""
    values = np.nan_to_num(leaf.astype(np.float64), posinf=0.0, neginf=0.0)
    if small and not (values.min() >= 0 and values.max() <= 1):
        values = values * 0.2 / max(np.abs(values).max(), 1.0)
    return (values * rng.uniform(0.5, 0.9, leaf.shape) + rng.uniform(0, 0.1, leaf.shape)).astype(leaf.dtype)


def _wide(leaf, rng, end):
    values = np.nan_to_num(leaf.astype(np.float64), posinf=0.0, neginf=0.0)
    if values.min() >= 0 and values.max() <= 1:
        drawn = rng.uniform(*{None: (0.02, 0.98), "high": (0.9, 0.98), "low": (0.02, 0.1)}[end], leaf.shape)
        if leaf.ndim > 1 and leaf.shape[-1] > 1 and np.allclose(values.sum(axis=-1), 1, atol=0.01):
            drawn[..., 0 if end == "low" else -1] += 0 if end is None else 9
            drawn = drawn / drawn.sum(axis=-1, keepdims=True)
        return drawn.astype(leaf.dtype)
    scale = 1.5 * max(values.std(), 1.0)
    away = {None: 0.0, "high": 4.0, "low": -4.0}[end]
    return (values.mean() + scale * (away + rng.normal(size=leaf.shape))).astype(leaf.dtype)


def _targets(leaf, shapes, rng, end, own):
    if leaf.dtype.kind == "b":
        return rng.random(leaf.shape) < 0.5 if end is None else np.full(leaf.shape, end == "high")
    if leaf.dtype.kind not in "iuf" and not _is_float(leaf):
        return leaf
    finite = np.nan_to_num(leaf.astype(np.float64), posinf=0.0, neginf=0.0)
    whole = bool(np.all(finite == np.round(finite)))
    if whole and _one_hot(finite):
        return np.eye(leaf.shape[-1])[_classes(leaf.shape[-1], leaf.shape[:-1], rng, end)].astype(leaf.dtype)
    classes = next((s[-1] for s in shapes if s[-1] > 1 and leaf.shape in (s[:-1], (*s[:-1], 1))), None)
    if whole and classes and finite.min() >= 0:
        return _classes(classes, leaf.shape, rng, end).astype(leaf.dtype)
    binary = bool(np.all((finite == 0) | (finite == 1))) and bool(finite.any())
    others = rng.integers(0 if binary else -1, 2, size=leaf.shape) if whole else rng.uniform(-1, 1, leaf.shape)
    mixed = np.where(rng.random(leaf.shape) < own, finite[rng.permutation(len(leaf))], others)
    if end is not None:
        mixed = np.full(leaf.shape, float(end == "high")) if binary else (1 if end == "high" else -1) * (np.abs(mixed) + 1)
    return mixed.astype(leaf.dtype)


def _one_hot(values):
    return values.ndim > 1 and values.shape[-1] > 1 and np.all((values == 0) | (values == 1)) and np.all(values.sum(axis=-1) == 1)


def _classes(count, shape, rng, end):
    return rng.integers(count, size=shape) if end is None else np.full(shape, count - 1 if end == "high" else 0)


def _is_float(leaf):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(leaf.dtype)) if leaf.dtype.kind in "fV" else False
