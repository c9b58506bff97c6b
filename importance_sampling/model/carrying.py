"""Values that leave an inner graph by a variable: a tensor of a branch of `tf.cond`, of a loop, or of a `tf.function` within the
step is not known outside of it."""

from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf


class Carrier:
    """Carries the sum of what several places in inner graphs write during a step to the end of that step."""

    def __init__(self):
        self._places = []

    def __bool__(self):
        return bool(self._places)

    def write(self, values):
        """Adds to what leaves the step; called while an inner graph is traced, for the tensors of one place, each `(b,)`."""
        variables = [_variable(tensor.shape[0]) for tensor in values]
        reached = _variable(1)
        for variable, tensor in zip([*variables, reached], [*values, tf.ones(1)]):
            variable.assign(variable.read_value() + tensor)
        self._places.append((reached, variables))

    def read(self):
        """What was written in this step, a list of `(b,)` tensors; NaN where no place was reached. Begins anew."""
        reached = tf.add_n([flag.read_value() for flag, _ in self._places])
        sums = [sum(variable.read_value() for variable in ones) for ones in zip(*(variables for _, variables in self._places))]
        with tf.control_dependencies([reached, *sums]):
            for flag, variables in self._places:
                for variable in (flag, *variables):
                    variable.assign(tf.zeros(variable.shape[0] or 1))
        return [tf.where(reached > 0, total, float("nan")) for total in sums]


@tf.autograph.experimental.do_not_convert
def _variable(size):
    """Zeros `(size,)`, of any size where it is None; XLA wants it known."""
    return outside_of_graphs(lambda: tf.Variable(tf.zeros(size or 1), shape=(size,), trainable=False))


def outside_of_graphs(function, *args):
    """Calls what makes variables in a thread of its own, where no `tf.function` is traced that would claim them."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *args).result()
