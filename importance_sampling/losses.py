"""The loss and the gradient norm of every sample, from any compiled Keras model.

The loss of a batch is `(1/b) sum_i w_i l_i`. So with u_i = 1 multiplied into the weights, `b d(loss)/d(u_i) = w_i l_i` is
what sample i contributes, whatever the model, its loss functions and its `train_step` are. In a graph only the path from
u to the reduction is built, which costs next to nothing. Regularisers and `add_loss` do not depend on u and drop out.

The same backward pass gives `b |d(loss)/d(output_i)|`, the upper bound of the gradient norm of arXiv:1803.00942.

`LossRecorder` stands in for `model.compute_loss` while a step runs (or is traced) and keeps these values.
"""

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
        gnorm: also record the gradient norm with respect to the model's output.
        reduction: `"mean"` (Keras's default) or `"sum"`, how the model's loss reduces the batch.
    """

    def __init__(self, model, gnorm=False, reduction="mean"):
        self._model = model
        self._gnorm = gnorm
        self._reduction = reduction
        self._records = threading.local()

    def __enter__(self):
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

    def take(self):
        """Returns the `PerSample` of the last call of `compute_loss` in this thread, and forgets it.

        Raises:
            ValueError: the model's `train_step` did not call `compute_loss`, or not with the sample weights.
        """
        record = vars(self._records).pop("last", None)
        if record is None:
            raise ValueError(
                "`model.train_step` must compute its loss as `self.compute_loss(x=x, y=y, y_pred=y_pred, "
                "sample_weight=sample_weight)`, with the sample weights it is given: they carry the importance weights. "
                f"Received: {type(self._model).__name__}.train_step, which does not"
            )
        return record

    def _compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, *args, **kwargs):
        if sample_weight is None:  # not ours to weigh: a step that drops the weights is refused in `take`
            return self._original(x, y, y_pred, sample_weight, *args, **kwargs)
        leaves = keras.tree.flatten(sample_weight)
        b = tf.shape(leaves[0])[0]
        unit = tf.ones((b, 1), tf.float32)
        outputs = _differentiable_outputs(y_pred) if self._gnorm else []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([unit, *outputs])
            weights = keras.tree.map_structure(lambda w: _as_column(w) * tf.cast(unit, w.dtype), sample_weight)
            loss = self._original(x, y, y_pred, weights, *args, **kwargs)
        rank = tf.convert_to_tensor(loss).shape.rank
        if rank:
            raise loss_refused("be reduced to one number for the batch", f"a tensor with {rank} dimensions")
        by_unit, *by_output = tape.gradient(loss, [unit, *outputs])
        if by_unit is None:
            raise loss_refused("depend on `sample_weight`", "one that does not")
        factor = tf.cast(b, tf.float32) if self._reduction == "mean" else 1.0
        gnorms = factor * _row_norms(by_output, b) if self._gnorm else None
        self._records.last = PerSample(factor * by_unit[:, 0], gnorms)
        return loss


def loss_refused(rule, received):
    """The error for a loss that importance weights cannot be applied to."""
    return ValueError(
        f"The loss given to `model.compile`, or computed by `compute_loss`, must {rule}: importance weights are sample "
        f"weights. Received: {received}"
    )


def forward(model, x):
    """The model's output with `training=False`, also of a model whose `call` has no such argument."""
    if _takes(model.call, "training"):
        return model(x, training=False)
    return model(x)


class metrics_kept:
    """A context that leaves the model's metrics as they were: losses of several outputs update metrics when computed."""

    def __init__(self, model):
        self._variables = model.metrics_variables

    def __enter__(self):
        self._values = [tf.identity(v.value) for v in self._variables]

    def __exit__(self, *_):
        for variable, value in zip(self._variables, self._values):
            variable.assign(value)


def _takes(method, name):
    return name in inspect.signature(method).parameters


def _as_column(weights):
    """Weights of shape `(b,)` as `(b, 1)`: on masked sequences Keras itself takes only the latter."""
    weights = tf.convert_to_tensor(weights)
    return weights[:, None] if weights.shape.rank == 1 else weights


def _row_norms(gradients, b):
    """Norm over all but the first axis, over all tensors together. Returns `(b,)` float32."""
    connected = [tf.cast(tf.reshape(g, (b, -1)), tf.float32) for g in gradients if g is not None]
    if not connected:
        raise ValueError("`of`/`score` = 'gnorm' needs a loss computed from the model's output. Received: one that is not")
    return tf.norm(tf.concat(connected, axis=1), axis=1)


def _differentiable_outputs(y_pred):
    """The tensors whose gradient is the bound: the outputs and, where there are any, their logits.

    Keras keeps the input of a final softmax or sigmoid on the output as `_keras_logits` and computes the loss from it. The
    attribute is private, but the only place the logits can be had without asking for a model without its activation.
    """
    outputs = []
    for leaf in keras.tree.flatten(y_pred):
        logits = getattr(leaf, "_keras_logits", None)
        outputs += [leaf] if logits is None else [leaf, logits]
    return outputs
