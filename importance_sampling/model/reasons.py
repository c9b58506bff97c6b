"""What the losses given to `compile` say of themselves, and why a loss is refused."""

import keras

from importance_sampling.model.losses import loss_refused

# reason: what the loss must, what was received
RULES = {
    "number": (
        "have a value for each sample",
        "a loss that returns one number for the whole batch; reduce over the last axis only, as in "
        "keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1), or give Dice and Tversky an `axis`",
    ),
    "flat": (
        "have a value for each sample",
        "an output of shape (b,), over which Keras's losses reduce as over the last axis: end the model with (b, 1), as by "
        "keras.layers.Reshape((1,))",
    ),
    "others": (
        "have a value for each sample that depends on no other sample of the batch",
        "a loss of a sample that changes with the other samples, as one of pairs or triplets, or one divided by a "
        "number of the batch, does",
    ),
    "normalised": (
        "not be normalised by the sample weights",
        "reduction='mean_with_sample_weight' or like it; take 'sum_over_batch_size'",
    ),
    "nonlinear": ("be linear in the sample weights", "a function of the weighted losses that is no sum or mean of them"),
    "place": ("have a value for each sample that does not depend on its place in the batch", "one that does"),
    "outputs": ("be computed from the `y_pred` it is given", "one that keeps its value when `x`, `y` and `y_pred` change"),
}


class Losses:
    """What the losses given to `compile` say of themselves.

    Attributes:
        reduction: `"mean"` or `"sum"`; None where they do not say it.
        known: whether all are Keras's own, so that one look is enough where it tells something.
        of_keras: whether it is Keras's `compute_loss` that computes them.
    """

    def __init__(self, model):
        self.reduction, self.known = None, False
        self.of_keras = False
        if type(model).compute_loss is not keras.Model.compute_loss or "compute_loss" in vars(model):
            return
        self.of_keras = True
        losses = [keras.losses.get(loss) for loss in keras.tree.flatten(model.loss) if loss is not None]
        self.known = bool(losses) and all(_module(loss).split(".")[0] == "keras" for loss in losses)
        if any(isinstance(loss, keras.losses.Loss) and type(loss).__call__ is not keras.losses.Loss.__call__ for loss in losses):
            return
        said = {getattr(loss, "reduction", "mean") if isinstance(loss, keras.losses.Loss) else "mean" for loss in losses}
        said = {"mean" if one == "sum_over_batch_size" else one for one in said}
        if "mean_with_sample_weight" in said:
            raise loss_refused(*RULES["normalised"])
        if said & {None, "none"}:
            raise loss_refused("be reduced to one number for the batch", "reduction='none'; take 'sum_over_batch_size'")
        if said == {"mean", "sum"}:
            raise mixture()
        self.reduction = said.pop() if len(said) == 1 and said <= {"mean", "sum"} else None


def refusal(reasons):
    """The error that tells all reasons at once, a dictionary by the name of the output, or None where there is but one."""
    reasons = {name: reason for name, reason in reasons.items() if reason}
    rules = " and ".join(dict.fromkeys(RULES[reason][0] for reason in reasons.values()))
    of = lambda name: f"for output {name!r}, " if name is not None else ""  # noqa: E731
    return loss_refused(rules, "; ".join(of(name) + RULES[reason][1] for name, reason in reasons.items()))


def mixture():
    return loss_refused("reduce every output in the same way, by mean or by sum", "a mixture")


def _module(loss):
    """Where a loss is defined; a function of `functools.partial` where that function is."""
    loss = getattr(loss, "func", loss)
    return (type(loss) if isinstance(loss, keras.losses.Loss) else loss).__module__ or ""
