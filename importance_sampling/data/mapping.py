"""A function of the user's for the samples of a batch, such as decoding or augmentation: after the choice, in parallel."""

import inspect

import keras
import numpy as np
import tensorflow as tf

from importance_sampling.data.structures import map_arrays


class SampleMap:
    """Applies a function to every sample of a batch; TensorFlow runs several samples at once.

    Args:
        function: takes the tensors of one sample `(x, y)` and returns `(x, y)` of any shape and type, the same for all
            samples. If it has a parameter `seed`, it is given one, `(2,)` int32, for the stateless random functions of
            TensorFlow: another for each sample of each step, the same again with the same seed of training. Python code
            needs `tf.numpy_function(..., stateful=False)` around it; without the last, one sample waits for the other.

    Raises:
        TypeError: `function` is not callable.

    Example:
        >>> import numpy as np
        >>> double = SampleMap(lambda x, y: (2 * x, y))
        >>> x, y, weights = double((np.array([1.0, 2.0]), np.array([0, 1]), None), np.random.default_rng(0))
        >>> x.numpy(), y.numpy()
        (array([2., 4.]), array([0, 1]))
    """

    def __init__(self, function):
        if not callable(function):
            raise TypeError(f"`map` must be a function of one sample (x, y). Received: map={function!r}")
        self._seeded = "seed" in inspect.signature(function).parameters
        check_signature("map", function, "one sample (x, y)", "x", "y", **({"seed": "seed"} if self._seeded else {}))
        self._function = function
        self._compiled = tf.function(self._batch, reduce_retracing=True)

    def __call__(self, batch, rng):
        """Maps a batch `(x, y, sample_weight)` of b samples; the weights stay as they are.

        Raises:
            ValueError: the function does not return two parts.
        """
        x, y, own = batch
        size = len(keras.tree.flatten(x)[0])
        seeds = rng.integers(2**31, size=(size, 2), dtype=np.int32) if self._seeded else np.zeros((size, 2), np.int32)
        x, y = self._compiled(x, y, seeds)
        return x, y, own

    def _batch(self, x, y, seeds):
        sample = map_arrays(lambda leaf: leaf[0], (x, y, seeds))
        returned = tf.function(self._one).get_concrete_function(*sample).structured_outputs
        if not (isinstance(returned, (tuple, list)) and len(returned) == 2 and (returned[1] is None) == (y is None)):
            received = f"y={returned[1]}" if isinstance(returned, (tuple, list)) and len(returned) == 2 else type(returned).__name__
            raise ValueError(f"`map` must return (x, y), where y is None as it was given or not. Received: {received}")
        kinds = map_arrays(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), tuple(returned))
        parts = (x, seeds) if y is None else (x, seeds, y)
        with tf.device("CPU"):
            if y is None:
                one = lambda sample: self._one(sample[0], None, sample[1])[0]  # noqa: E731
                return tf.map_fn(one, parts, fn_output_signature=kinds[0], parallel_iterations=32), None
            one = lambda sample: tuple(self._one(sample[0], sample[2], sample[1]))  # noqa: E731
            return tf.map_fn(one, parts, fn_output_signature=kinds, parallel_iterations=32)

    def _one(self, x, y, seed):
        return self._function(x, y, seed=seed) if self._seeded else self._function(x, y)


def check_signature(name, function, rule, *arguments, **named):
    """Refuses a function that cannot be called with these arguments; of some that are built in, nothing tells.

    Raises:
        TypeError: it cannot.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:
        return
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        raise TypeError(f"`{name}` must be a function of {rule}. Received: one with {error}") from None
