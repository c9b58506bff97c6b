"""A batch on several devices, each with its copy of the model: `tf.distribute.MirroredStrategy`.

The batch is drawn and weighed as a whole; every replica takes its part of it, and the losses come back in the order of the
batch. Keras divides the loss of a replica by their number, so the gradients of all parts add up to that of the batch.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from importance_sampling.data.structures import arrays_of, map_arrays


def replicas_of(model):
    """The number of replicas.

    Raises:
        ValueError: the model is under a strategy that Keras's own `fit` does not run under, or that nobody has tried.
    """
    strategy = model.distribute_strategy
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return 1
    if not isinstance(strategy, tf.distribute.MirroredStrategy):
        raise ValueError(
            "`model` must be on one device or under tf.distribute.MirroredStrategy: the `fit` of Keras 3 itself fails under "
            f"MultiWorkerMirroredStrategy, others are untested. Received: {type(strategy).__name__} with {replicas} replicas"
        )
    if model.jit_compile:
        raise ValueError(
            "`jit_compile` must be False or 'auto' under a strategy, where the `fit` of Keras itself fails with XLA. "
            f"Received: jit_compile=True with {replicas} replicas"
        )
    return replicas


def in_scope():
    """Whether a strategy is in scope where this is called."""
    return tf.distribute.has_strategy()


def out_of_scope(function, *arguments):
    """Calls a function where no strategy is in scope, also where `fit` is called in one: there TensorFlow would make variables for
    every device, and Keras divide every loss. A scope belongs to a thread, so the function runs in another."""
    if not in_scope():
        return function(*arguments)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *arguments).result()


def check_divisible(batch_size, replicas):
    """Refuses a batch that cannot be shared evenly; an uneven share would change the weights of its samples.

    Raises:
        ValueError: it cannot.
    """
    if batch_size % replicas:
        raise ValueError(f"`batch_size` must be a multiple of the {replicas} replicas. Received: batch_size={batch_size}")


def part_of_replica(batch):
    """The part of a batch that the replica which calls this trains on."""
    context = tf.distribute.get_replica_context()
    length = tf.shape(arrays_of(batch)[0])[0] // context.num_replicas_in_sync
    start = context.replica_id_in_sync_group * length
    return map_arrays(lambda a: tf.convert_to_tensor(a)[start : start + length], batch)


def gathered(strategy, values):
    """The values of all replicas, one after the other along the first axis."""
    return map_arrays(lambda value: strategy.gather(value, axis=0), values)


def on_average(strategy, values):
    """The mean of the replicas' values, which is how Keras reports the logs of a step."""
    return map_arrays(lambda value: strategy.reduce("MEAN", value, axis=None), values)


def local_batch(strategy, batch):
    """A batch that `fit` has distributed, as numpy arrays in one piece."""

    def joined(value):
        parts = [np.asarray(part) for part in strategy.experimental_local_results(value)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return map_arrays(joined, batch)
