"""The loss and the gradient norm of every sample, from any compiled Keras model.

The loss of a batch is `(1/b) sum_i w_i l_i`. So with u_i = 1 multiplied into the weights, `b d(loss)/d(u_i) = w_i l_i` is
what sample i contributes, whatever the model, its loss functions and its `train_step` are. In a graph only the path from
u to the reduction is built, which costs next to nothing. Regularisers and `add_loss` do not depend on u and drop out.

The same backward pass gives `b |d(loss)/d(output_i)|`, the upper bound of the gradient norm of arXiv:1803.00942.

`LossRecorder` stands in for `model.compute_loss` while a step runs (or is traced) and keeps these values.
"""

import contextlib
import inspect
import threading
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class PerSample(NamedTuple):
    """What each sample of a batch contributed, weights included; `(b,)` float32 tensors. gnorms is None if not asked."""

    losses: Any
    gnorms: Any


class LossRecorder:
    """A context in which `model.compute_loss` also records per-sample values.

    The method is put back on exit, also after an exception. Records are kept per thread: replicas trace in threads of
    their own.

    Args:
        model: a compiled `keras.Model`.
        reduction: `"mean"` or `"sum"`, how the model's loss reduces the batch.
        gnorm: also record the gradient norm with respect to the model's output.
        divisor: what the loss is divided by besides: the number of replicas, where it is computed for a part of the batch.
    """

    def __init__(self, model, reduction, gnorm=False, divisor=1):
        self._model = model
        self._gnorm = gnorm
        self._reduction = reduction
        self._divisor = divisor

    def __enter__(self):
        self._records = threading.local()
        self._original = self._model.compute_loss
        self._shadowed = "compute_loss" in vars(self._model)
        self._model.compute_loss = self._compute_loss
        return self

    def __exit__(self, *_):
        if self._shadowed:
            self._model.compute_loss = self._original
        else:
            del self._model.compute_loss

    def record(self, x, y, y_pred, sample_weight):
        """Computes the loss with `training=False` and returns its `PerSample`."""
        training = {"training": False} if _takes(self._model.compute_loss, "training") else {}
        with self:
            self._model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, **training)
        return self.take()

    def take(self, size=None):
        """Returns the `PerSample` of the calls of `compute_loss` in this thread, their sum, and forgets them.

        Args:
            size: how many samples there are.

        Raises:
            ValueError: the model's `train_step` did not call `compute_loss`, or not with the sample weights, or for a part of the
                batch.
        """
        records = vars(self._records).pop("all", [])
        if not records:
            raise step_refused(self._model)
        if any(record.losses.shape[0] not in (None, size) for record in records if size is not None):
            raise LossRefused(
                "`model.train_step` must call `compute_loss` on the whole batch, each time that it does. "
                f"Received: {' and '.join(str(record.losses.shape[0]) for record in records)} of {size} samples"
            )
        return PerSample(*(None if parts[0] is None else tf.add_n(parts) for parts in zip(*records)))

    def _compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, *args, **kwargs):
        if sample_weight is None:  # not ours to weigh: a step that drops the weights is refused in `take`
            return self._original(x, y, y_pred, sample_weight, *args, **kwargs)
        b = tf.shape(keras.tree.flatten(sample_weight)[0])[0]
        unit = tf.ones(b, tf.float32)
        outputs = _differentiable_outputs(y_pred) if self._gnorm else []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([unit, *outputs])
            weights = keras.tree.map_structure(lambda w: scaled(w, unit), sample_weight)
            loss = self._original(x, y, y_pred, weights, *args, **kwargs)
        rank = tf.convert_to_tensor(loss).shape.rank
        if rank:
            raise loss_refused("be reduced to one number for the batch", f"a tensor with {rank} dimensions")
        by_unit, *by_output = tape.gradient(loss, [unit, *outputs])
        if by_unit is None:
            raise loss_refused("depend on `sample_weight`", "one that does not" + (", with y=None" if y is None else ""))
        factor = self._divisor * (tf.cast(b, tf.float32) if self._reduction == "mean" else 1.0)
        gnorms = factor * _row_norms(by_output, b) if self._gnorm else None
        vars(self._records).setdefault("all", []).append(PerSample(factor * by_unit, gnorms))
        return loss


class LossRefused(ValueError):
    """A loss that importance weights cannot be applied to."""


def step_refused(model):
    """The error for a model that computes its loss in a way of its own."""
    return LossRefused(
        "`model.train_step` must compute its loss as `self.compute_loss(x=x, y=y, y_pred=y_pred, "
        "sample_weight=sample_weight)`, with the sample weights it is given: they carry the importance weights. "
        f"Received: {type(model).__name__}.train_step, which does not"
    )


def loss_refused(rule, received):
    """The error for a loss that importance weights cannot be applied to."""
    return LossRefused(
        f"The loss given to `model.compile`, or computed by `compute_loss`, must {rule}: importance weights are sample "
        f"weights. Received: {received}"
    )


def forward(model, x):
    """The model's output with `training=False`, also of a model whose `call` has no such argument."""
    if _takes(model.call, "training"):
        return model(x, training=False)
    return model(x)


@contextlib.contextmanager
def unchanged(model, states=None):
    """A context that leaves the model as it was: losses may update metrics, layers draw from generators or count.

    Args:
        model: a built model.
        states: the variables to restore beside the metrics; None is all that are not trainable. Works in graphs too.
    """
    variables = [*model.metrics_variables, *(model.non_trainable_variables if states is None else states)]
    values = [tf.identity(v.value) for v in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values):
            variable.assign(value)
        known = {id(variable) for variable in variables}
        for variable in model.metrics_variables:  # a loss of several outputs makes some when it is first computed
            if id(variable) not in known:
                variable.assign(tf.zeros_like(variable.value))


def _takes(method, name):
    return name in inspect.signature(method).parameters


def scaled(weights, factors, rank=1):
    """Weights `(b, ...)` times a factor `(b,)` for each sample; weights `(b,)` get `rank` dimensions."""
    weights = tf.cast(weights, tf.float32)
    weights = columns(weights, rank) if weights.shape.rank == 1 else weights
    return weights * columns(factors, weights.shape.rank)


def columns(values, rank):
    """One number for each sample, `(b,)`, in a shape that multiplies tensors of `rank` dimensions: `(b, 1, ...)`."""
    return tf.reshape(values, (-1, *[1] * (rank - 1)))


def _row_norms(gradients, b):
    """Norm over all but the first axis, over all tensors together. Returns `(b,)` float32."""
    connected = [tf.cast(tf.reshape(g, (b, -1)), tf.float32) for g in gradients if g is not None]
    if not connected:
        raise ValueError(
            "`of`/`score` = 'gnorm' needs a loss computed from the model's output. Received: one that is not; where the model ends "
            "with a softmax or sigmoid that is no Keras activation, leave it away and give the loss from_logits=True"
        )
    return tf.norm(tf.concat(connected, axis=1), axis=1)


def _differentiable_outputs(y_pred):
    """The tensors whose gradient is the bound: the outputs and, where there are any, their logits.

    Keras keeps the input of a final softmax or sigmoid on the output as `_keras_logits` and computes the loss from it. The
    attribute is private, but the only place the logits can be had without asking for a model without its activation.
    """
    outputs = []
    for leaf in keras.tree.flatten(y_pred):
        if not leaf.dtype.is_floating:
            continue
        logits = getattr(leaf, "_keras_logits", None)
        outputs += [leaf] if logits is None else [leaf, logits]
    return outputs


def is_masked(y_pred):
    """Whether some output carries a mask. Keras keeps it on the output as `_keras_mask`, private like the logits."""
    return any(getattr(leaf, "_keras_mask", None) is not None for leaf in keras.tree.flatten(y_pred))
