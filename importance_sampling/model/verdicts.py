"""The proof: what a sample contributes to the loss is the same among other samples and other weights.

Weights are tried with as many dimensions as the loss may want. Each output of the model is judged by itself.
"""

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.model.losses import LossRefused, loss_refused
from importance_sampling.model.reasons import RULES, mixture, refusal

_TOLERANCE = 1e-5  # relative; the same sample in the same place is computed by the same operations
_TRIALS = range(3)  # see `Look.pair`
_MARKS = ((np.nan, -1, -100), (-1, -100), (np.nan,), (-1,), (-100,))  # of missing targets, the first that the loss takes
_WRONG_SHAPE = (tf.errors.InvalidArgumentError, TypeError, ValueError, AttributeError, KeyError, IndexError)


def ranks_of(look, losses, names):
    """The number of dimensions that weights need, an int or a structure of them; proves that samples contribute by themselves.

    Args:
        look: a `Look`.
        losses: `Losses` of the model.
        names: of the outputs, for errors.

    Raises:
        ValueError: they do not, for a reason that is told.
    """
    options = [_options(len(leaf.shape)) for leaf in keras.tree.flatten(look.y_pred)]
    found, error = [], None  # reasons of each try, by outputs
    flat = [len(leaf.shape) == 1 for leaf in keras.tree.flatten(look.y_pred)]
    if len(options) > 1 or keras.tree.is_nested(look.y_pred):
        ranks, reasons, error = _of_each_output(look, losses, options)
        if ranks is not None and not any(reasons):
            return keras.tree.pack_sequence_as(look.y_pred, ranks)
        if ranks is not None and losses.of_keras:
            raise refusal({name: "flat" if one and r == "number" else r for name, r, one in zip(names, reasons, flat)})
        found += [] if ranks is None else [dict(zip(names, reasons))]
    for rank in dict.fromkeys([*options[0], *(rank for several in options for rank in several)]):
        try:
            (reason,) = _examine(look, losses, rank)
        except LossRefused:
            raise
        except _WRONG_SHAPE as wrong:
            error = error or wrong
            continue
        if reason is None:
            return rank
        found.append({None: "flat" if all(flat) and reason == "number" else reason})
    if not found:
        raise error
    raise refusal(next((one for one in found if set(one.values()) - {None, "number", "flat"}), found[0]))


def _of_each_output(look, losses, options):
    """Weights for each output: their ranks and the reasons against them; or None, and the error of the first look."""
    pack = lambda flat: keras.tree.pack_sequence_as(look.y_pred, flat)  # noqa: E731
    try:
        ranks = [several[0] for several in options]
        reasons = _examine(look, losses, pack(ranks))
    except LossRefused:
        raise
    except _WRONG_SHAPE as wrong:
        if not losses.of_keras:
            return None, None, wrong
        ranks, reasons, error = [None] * len(options), ["shape"] * len(options), wrong
    for i, several in enumerate(options):
        for rank in several if reasons[i] == "shape" else several[1:] if reasons[i] else ():
            alone = [rank if j == i else None for j in range(len(options))]
            try:
                (reason,) = _examine(look, losses, pack(alone))
            except LossRefused:  # an output without a loss
                reason = None
            except _WRONG_SHAPE:
                continue
            if reason is None or reasons[i] in ("shape", "number"):
                ranks[i], reasons[i] = rank, reason
            if reason is None:
                break
    if "shape" in reasons:
        return None, None, error
    if ranks != [several[0] for several in options] and not any(reasons):
        reasons = _examine(look, losses, pack(ranks))  # all together, since the first look ended with the first wrong shape
    return ranks, reasons, None


def _examine(look, losses, ranks):
    """Why weights of these ranks do not tell what each sample contributes; a list, None where they do."""
    reasons = None
    for trial in _TRIALS:
        base, other, kept = look.pair(trial)
        try:
            before, by_others, by_weights = look.with_proof(base, ranks)
        except _WRONG_SHAPE:
            if not trial:
                raise
            continue  # targets of a kind that cannot be made up
        reasons = [_by_derivatives(base.units, *found) for found in zip(before, by_others, by_weights)]
        if any(reasons) or look.n == 1:
            break
        after = look.contributions(other, ranks)
        reasons = [_by_exchange(look, base, ranks, i, kept, *found) for i, found in enumerate(zip(before, after))]
        if any(reasons) or (losses.known and all(_tells(some) for some in before)):
            break
        if trial == 1:
            after = _with_marks(look, base, ranks, kept) or after
            # an output whose targets take no such mark stays what it was, and for good reason
            reasons = [_by_exchange(look, base, ranks, i, kept, *found, moves=False) for i, found in enumerate(zip(before, after))]
            if any(reasons):
                break
    return reasons


def _with_marks(look, base, ranks, kept):
    """Contributions where the samples that are not kept have targets that are missing; None where the loss takes no such mark."""
    for marks in _MARKS:
        batch = look.marked(base, kept, marks)
        if batch is None:
            continue
        try:
            return look.contributions(batch, ranks)
        except _WRONG_SHAPE:
            continue
    return None


def _by_derivatives(units, contributions, by_others, by_weights):
    """The reason why samples do not contribute by themselves, from derivatives of what they contribute, or None."""
    if by_weights:
        total, size = np.abs(np.nansum(units * contributions)), np.nansum(np.abs(units * contributions))
        return "normalised" if total < 1e-3 * size else "nonlinear"  # the loss does not change with all weights at once
    if by_others:
        return "number" if _equal(contributions) else "others"
    return None


def _by_exchange(look, base, ranks, i, kept, before, after, moves=True):
    """The reason why the samples `kept` do not contribute by themselves to output i, since they do not contribute the same after
    the others have been exchanged; or None. `moves` says that what those others contribute is to have changed."""
    if _same(before[kept], after[kept]):
        known = ~kept & np.isfinite(before) & np.isfinite(after)
        unmoved = moves and known.any() and _same(before[known], after[known]) and not _equal(before[known])
        return "outputs" if unmoved else None
    if not _same(before, look.contributions(base, ranks)[i]):
        return None  # a random loss, which cannot be compared with itself: derivatives must do
    if not _same(before, look.contributions(base._replace(units=base.units[::-1] * 1.5), ranks)[i]):
        return "nonlinear"
    return "number" if _equal(before) else "others"


def reduction_of(look, losses, ranks):
    """`"mean"` or `"sum"`; raises where the loss is neither."""
    if losses.reduction is not None:
        return losses.reduction
    found = set()
    for trial in _TRIALS:
        base, other, _ = look.pair(trial)
        try:
            alone, together = (look.contributions(batch, ranks) for batch in (base, look.after(other, base)))
        except _WRONG_SHAPE:
            continue
        for i, (some, more) in enumerate(zip(alone, together)):
            more = more[look.n :]
            ratio = np.nansum(np.abs(more)) / max(np.nansum(np.abs(some)), 1e-30)
            if not ratio:
                continue
            if not _same(more, ratio * some, 1e-2):
                if not look.states and _same(some, look.contributions(base, ranks)[i]):  # and not random
                    raise loss_refused(*RULES["place"])
                ratio = min(0.5, 1.0, key=lambda expected: abs(np.log(expected / ratio)))
            found.add(_reduction(ratio))
        if found:
            break
    if len(found) > 1:
        raise mixture()
    if found == {None}:
        raise loss_refused("be the mean or the sum over the batch", "one that is neither")
    return found.pop() if found else "mean"


def _reduction(ratio):
    """Of what a sample contributes to a batch twice as large: half as much to a mean, the same to a sum."""
    return next((name for name, expected in (("mean", 0.5), ("sum", 1.0)) if abs(ratio - expected) < 0.01), None)


def _options(rank):
    """Numbers of dimensions to try for the weights of an output of so many, the likely ones first."""
    return tuple(dict.fromkeys([max(rank - 1, 2), 2, 1, *range(3, rank + 1)]))


def _same(some, others, tolerance=_TOLERANCE):
    known = np.isfinite(some) & np.isfinite(others)
    scale = max(np.abs(some[known]).max(initial=0), np.abs(others[known]).max(initial=0))
    return bool(np.all(np.abs(some[known] - others[known]) <= tolerance * scale))


def _equal(values):
    return _same(values, np.full_like(values, values[0]))


def _tells(values):
    """Whether there is something to compare: a wrong shape makes all equal, and so does a loss that is the same for all."""
    return bool(np.isfinite(values).any() and not _equal(values))
