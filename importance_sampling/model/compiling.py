"""Functions that belong to a compiled model, and are compiled as it is."""

import tensorflow as tf

from importance_sampling.data.structures import map_arrays


class CompiledWith:
    """A function built from a compiled model and a first batch, built anew after `model.compile` was called again, and for batches
    of another structure or rank, whose loss may take weights of another."""

    def __init__(self, model, build):
        self._model = model
        self._build = build
        self._key, self._ranks = (), None
        self._built = None

    def get(self, x, y):
        ranks = str(map_arrays(lambda leaf: len(leaf.shape), (x, y)))
        if ranks != self._ranks or not _same(self._key, self._compilation()):
            self._built = self._build(x, y)
            self._key, self._ranks = self._compilation(), ranks
        return self._built

    def _compilation(self):
        """What the model is compiled with, objects.

        Nothing public is another object after each `compile`, and one with the same optimizer and loss may make layers trainable or
        take other weights of losses. What Keras keeps of the arguments is another, in all versions that are allowed.
        """
        model = self._model
        settings = getattr(model, "_compile_config", None)  # None where the model has a `compile` of its own that keeps none
        return (settings, model.optimizer, model.loss, model.jit_compile, model.run_eagerly, *model.metrics)


def _same(objects, others):
    return len(objects) == len(others) and all(a is b for a, b in zip(objects, others))


def compiled_as(model, function):
    """The function, compiled in the way that the model's own step is."""
    if model.run_eagerly:
        return function
    return tf.function(function, jit_compile=model.jit_compile, reduce_retracing=True, autograph=False)  # as Keras does
