"""Programs that show the library at work, and the paper's experiments."""

from examples import quiet  # noqa: F401  # before anything imports TensorFlow
