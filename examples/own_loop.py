"""The sampler in a training loop of your own: draw, train with the weights, give the losses back.

    python -m examples.own_loop

Prints the loss on all samples every 100 steps.
"""

import keras
import tensorflow as tf

from examples import datasets
from importance_sampling import ArraySource, ImportanceSampler


def main(samples=10_000, steps=400):
    (x, y), _ = datasets.mnist_or_digits()
    x, y = x[:samples].reshape(len(x[:samples]), -1), y[:samples]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
    optimizer = keras.optimizers.Adam(1e-3)
    loss_of_each = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)

    @tf.function
    def train_step(x, y, weights):
        with tf.GradientTape() as tape:
            losses = loss_of_each(y, model(x, training=True))  # (b,)
            loss = tf.reduce_mean(weights * losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return losses

    sampler = ImportanceSampler(ArraySource(x, y), importance="pcg", k=0.5, seed=0)
    for step in range(1, steps + 1):
        draw = sampler.draw(64)
        losses = train_step(x[draw.indices], y[draw.indices], draw.weights)
        sampler.update(draw, losses)  # as they were before weighting
        if step % 100 == 0:
            print(f"step {step}: loss {tf.reduce_mean(loss_of_each(y, model(x))):.3f}")


if __name__ == "__main__":
    main()
