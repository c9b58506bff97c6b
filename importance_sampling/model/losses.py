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

from importance_sampling.data.structures import map_arrays, times
from importance_sampling.model.carrying import Carrier
from importance_sampling.model.handing import handed_on


class PerSample(NamedTuple):
    """What each sample of a batch contributed, weights included; `(b,)` float32 tensors. gnorms is None if not asked."""

    losses: Any
    gnorms: Any


class LossRecorder:
    """A context in which `model.compute_loss` also records per-sample values.

    The method is put back on exit, also after an exception. Records are kept per thread: replicas trace in threads of
    their own. Where `compute_loss` runs in an inner graph, in a branch, a loop or a `tf.function` of the user's step, a `Carrier`
    brings them out of it.

    Args:
        model: a compiled `keras.Model`.
        reduction: `"mean"` or `"sum"`, how the model's loss reduces the batch.
        gnorm: also record the gradient norm with respect to the model's output.
        divisor: what the loss is divided by besides: the number of replicas, where it is computed for a part of the batch.
        shaped: gives weights, or None, of a batch of b samples the shape that the loss takes; see `LossForm.shaped`.
        of_samples: for each of the model's outputs whether its first axis is that of the samples; empty where all are.
    """

    def __init__(self, model, reduction, gnorm=False, divisor=1, shaped=lambda weights, b: weights, of_samples=()):
        self._model = model
        self._gnorm = gnorm
        self._reduction = reduction
        self._divisor = divisor
        self._shaped = shaped
        self._of_samples = of_samples
        self._carrier = Carrier()

    def __enter__(self):
        self._step = threading.local()
        self._original = self._model.compute_loss
        self._shadowed = "compute_loss" in vars(self._model)
        self._model.compute_loss = self._compute_loss
        return self

    def __exit__(self, *_):
        if self._shadowed:
            self._model.compute_loss = self._original
        else:
            del self._model.compute_loss

    def begin(self, unweighted=False, given=None, tape=None):
        """Begins the records of a step in this thread.

        Args:
            unweighted: whether the step is told of no weights. Without it a step that passes on none is refused in `take`.
            given: the weights that the step is told of, and a persistent tape that watches them, to see what it makes of them.
        """
        self._step.records, self._step.unweighted, self._step.graph = [], unweighted, _graph()
        self._step.given, self._step.tape = [leaf for leaf in keras.tree.flatten(given) if leaf is not None], tape

    def record(self, x, y, y_pred, sample_weight):
        """Computes the loss with `training=False` and returns its `PerSample`."""
        with self:
            self.begin(unweighted=True)
            compute_loss(self._model, x, y, y_pred, sample_weight)
            return self.take()

    def take(self, size=None):
        """Returns the `PerSample` of the calls of `compute_loss` since `begin` in this thread, their sum.

        Args:
            size: how many samples there are.

        Raises:
            ValueError: the model's `train_step` did not call `compute_loss`, or not with the sample weights, or for a part of the
                batch.
        """
        records = list(self._step.records)
        if self._carrier:
            records.append(PerSample(*self._carrier.read(), *([] if self._gnorm else [None])))
        if not records:
            raise step_refused(self._model)
        if any(record.losses.shape[0] not in (None, size) for record in records if size is not None):
            raise LossRefused(
                "`model.train_step` must call `compute_loss` on the whole batch, each time that it does. "
                f"Received: {' and '.join(str(record.losses.shape[0]) for record in records)} of {size} samples"
            )
        return PerSample(*(None if parts[0] is None else tf.add_n(parts) for parts in zip(*records)))

    def _compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, *args, **kwargs):
        if sample_weight is None and not self._step.unweighted:  # not ours to weigh: a step that drops them is refused in `take`
            return self._original(x, y, y_pred, sample_weight, *args, **kwargs)
        if self._step.given and _graph() is self._step.graph:
            sample_weight = handed_on(sample_weight, self._step.given, self._step.tape)
            if sample_weight is None:
                raise step_refused(self._model, "it hands on weights of its own")
        b = tf.shape(next(leaf for leaf in keras.tree.flatten((sample_weight, x, y, y_pred)) if leaf is not None))[0]
        unit = tf.ones(b, tf.float32)
        outputs = _differentiable_outputs(y_pred, self._of_samples) if self._gnorm else []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([unit, *outputs])
            weights = times(map_arrays(lambda w: tf.cast(w, tf.float32), self._shaped(sample_weight, b)), unit)
            loss = self._original(x, y, y_pred, weights, *args, **kwargs)
        rank = tf.convert_to_tensor(loss).shape.rank
        if rank:
            raise loss_refused("be reduced to one number for the batch", f"a tensor with {rank} dimensions")
        by_unit, *by_output = tape.gradient(loss, [unit, *outputs])
        if by_unit is None:
            raise loss_refused("depend on `sample_weight`", "one that does not" + (", with y=None" if y is None else ""))
        factor = self._divisor * (tf.cast(b, tf.float32) if self._reduction == "mean" else 1.0)
        record = PerSample(factor * by_unit, factor * _row_norms(by_output, b) if self._gnorm else None)
        if _graph() is self._step.graph:
            self._step.records.append(record)
        elif tf.distribute.in_cross_replica_context() or tf.distribute.get_strategy().num_replicas_in_sync == 1:
            self._carrier.write([values for values in record if values is not None])
        else:
            raise LossRefused(
                "`model.train_step` must call `compute_loss` outside of branches, loops and functions of TensorFlow on several "
                f"devices. Received: {type(self._model).__name__}.train_step, which does not"
            )
        return loss


def _graph():
    """The graph that operations are added to now, None in eager mode."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


class LossRefused(ValueError):
    """A loss that importance weights cannot be applied to."""


class NoBounds(ValueError):
    """There are no gradient-norm bounds: the loss is not computed from the model's output."""


def step_refused(model, why=None):
    """The error for a model that computes its loss in a way of its own."""
    name = type(model).__name__
    without_call = type(model).call is keras.Model.call
    return LossRefused(
        ("`model` must have a `call`, and " if without_call else "")
        + "`model.train_step` must compute its loss as `self.compute_loss(x=x, y=y, y_pred=y_pred, "
        "sample_weight=sample_weight)`, with the sample weights it is given: they carry the importance weights. Received: "
        + (f"{name}, which has no `call`" if without_call else f"{name}.train_step, which does not")
        + (f": {why}" if why else "")
    )


def loss_refused(rule, received):
    """The error for a loss that importance weights cannot be applied to."""
    return LossRefused(
        f"The loss given to `model.compile`, or computed by `compute_loss`, must {rule}: importance weights are sample "
        f"weights. Received: {received}"
    )


def compute_loss(model, x, y, y_pred, sample_weight):
    """The loss with `training=False`, also of a model whose `compute_loss` has no such argument."""
    training = {"training": False} if _takes(model.compute_loss, "training") else {}
    return model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, **training)


def forward(model, x):
    """The model's output with `training=False`, also of a model whose `call` has no such argument."""
    if _takes(model.call, "training"):
        return model(x, training=False)
    return model(x)


def _takes(method, name):
    return name in inspect.signature(method).parameters


def _row_norms(gradients, b):
    """Norm over all but the first axis, over all tensors together. Returns `(b,)` float32."""
    connected = [tf.cast(tf.reshape(g, (b, -1)), tf.float32) for g in gradients if g is not None]
    if not connected:
        raise NoBounds(
            "`quantity='gnorm'` needs a loss computed from the model's output. Received: one that is not; where the model ends "
            "with a softmax or sigmoid that is no Keras activation, leave it away and give the loss from_logits=True"
        )
    return tf.norm(tf.concat(connected, axis=1), axis=1)


def _differentiable_outputs(y_pred, of_samples=()):
    """The tensors whose gradient is the bound: the outputs of samples and, where there are any, their logits.

    Keras keeps the input of a final softmax or sigmoid on the output as `_keras_logits` and computes the loss from it. The
    attribute is private, but the only place the logits can be had without asking for a model without its activation.
    """
    outputs = []
    leaves = keras.tree.flatten(y_pred)
    for leaf, of_sample in zip(leaves, of_samples or [True] * len(leaves)):
        if not (leaf.dtype.is_floating and of_sample):
            continue
        logits = getattr(leaf, "_keras_logits", None)
        outputs += [leaf] if logits is None else [leaf, logits]
    return outputs


def is_masked(y_pred):
    """Whether some output carries a mask. Keras keeps it on the output as `_keras_mask`, private like the logits."""
    return any(getattr(leaf, "_keras_mask", None) is not None for leaf in keras.tree.flatten(y_pred))
