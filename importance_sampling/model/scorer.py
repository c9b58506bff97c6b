"""The scores of candidates by the model that is trained."""

import tensorflow as tf

from importance_sampling.data.structures import map_arrays
from importance_sampling.model.compiling import CompiledWith, compiled_as
from importance_sampling.model.losses import LossRecorder, forward
from importance_sampling.model.probe import loss_form
from importance_sampling.model.unchanged import unchanged

SCORES = ("loss", "gnorm", "full_gnorm")


class Scorer:
    """Per-sample scores of a model as it is: a forward pass with `training=False` that leaves no trace in the model.

    Args:
        model: a compiled `keras.Model`.
        score: `"loss"`; `"gnorm"`, the gradient norm with respect to the output; `"full_gnorm"`, the exact norm of the
            gradient with respect to all trainable weights, one sample at a time (slow: for reference).
    """

    def __init__(self, model, score="loss"):
        self._model = model
        self._score = score
        self._compiled = CompiledWith(model, self._build)

    def __deepcopy__(self, memo):
        """For the copy of the model where that was copied before, else for the model; nothing is compiled yet."""
        return Scorer(memo.get(id(self._model), self._model), self._score)

    def __call__(self, x, y, sample_weight=None):
        """Returns `(n,)` float32 scores. `sample_weight` is the user's own."""
        return self._compiled.get(x, y)(x, y, sample_weight)

    def separable(self, x, y):
        """Whether the score of a sample is the same in any batch; see `LossForm`."""
        self._compiled.get(x, y)
        return self._form.separable

    def _build(self, x, y):
        self._form = loss_form(self._model, x, y)
        form = self._form
        gnorm = self._score == "gnorm"
        self._recorder = LossRecorder(self._model, form.reduction, gnorm, shaped=form.shaped, of_samples=form.of_samples)
        return compiled_as(self._model, self._each if self._score == "full_gnorm" else self._batch)

    def _batch(self, x, y, sample_weight):
        with unchanged(self._model, self._form.states):
            losses, gnorms = self._forward(x, y, sample_weight)
        return gnorms if self._score == "gnorm" else losses

    def _each(self, x, y, sample_weight):
        weights = self._model.trainable_variables
        given = (x, y, sample_weight)
        present = [part for part in given if part is not None]

        def one(sample):
            parts = iter(map_arrays(lambda a: a[None], sample))
            x, y, own = (None if part is None else next(parts) for part in given)
            with tf.GradientTape() as tape:
                loss = self._forward(x, y, own).losses  # (1,), free of regularisers
            gradients = tape.gradient(loss, [w.value for w in weights])
            # as dense tensors: the rows of an embedding that occur twice must be added before the norm is taken
            return tf.linalg.global_norm([tf.convert_to_tensor(g) for g in gradients if g is not None])

        with unchanged(self._model, self._form.states):
            return tf.map_fn(one, present, fn_output_signature=tf.float32)

    def _forward(self, x, y, sample_weight):
        y_pred = forward(self._model, x)
        return self._recorder.record(x, y, y_pred, sample_weight)
