"""What the library costs and gains, measured against plain Keras in the same run."""

from examples import quiet  # noqa: F401  # before anything imports TensorFlow
