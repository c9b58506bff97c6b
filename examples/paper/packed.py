"""LSTM layers that compute no padding.

On Penn Treebank almost half of the 20 places of a context are padding, since a sentence begins less than 20 words before.
Keras computes them and keeps the old state by the mask; here they are left out, which gives the same numbers.
"""

import keras
import tensorflow as tf


class PackedLSTM(keras.layers.Layer):
    """LSTM layers on sequences that are padded on the left, each followed by dropout; the last state of the last layer.

    The words are packed: P rows, all that have a word at the first time, then all that have one at the second, and so on. With
    the longest sequences first, those that have a word at a time are the first so many, and the next time they are as many or more.

    Args:
        units: of each layer.
        layers: how many.
        dropout: rate.

    Inputs `(b, T, d)` with a mask `(b, T)`; outputs `(b, units)`, zero for a sequence of padding only.

    Raises:
        tf.errors.InvalidArgumentError: the padding of a sequence is not all on its left.
    """

    def __init__(self, units, layers, dropout, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        alike = {"dtype": self.dtype_policy}
        self.parts = [(keras.layers.LSTMCell(units, **alike), keras.layers.Dropout(dropout, **alike)) for _ in range(layers)]
        self.supports_masking = True
        self.supports_jit = False  # XLA wants shapes that are known

    def build(self, shape):
        for cell, _ in self.parts:
            cell.build(shape)
            shape = (*shape[:-1], self.units)

    def compute_output_shape(self, shape):
        return shape[0], self.units

    def compute_mask(self, inputs, previous_mask):
        return None  # the last state is that of the whole sequence

    def call(self, inputs, mask=None, training=False):
        words = tf.ones(tf.shape(inputs)[:2], tf.int32) if mask is None else tf.cast(mask, tf.int32)
        tf.debugging.assert_less_equal(words[:, :-1], words[:, 1:], "`mask` must be False at the beginning of a sequence only")
        longest_first = tf.argsort(tf.reduce_sum(words, axis=1), direction="DESCENDING", stable=True)  # (b,)
        counts = tf.reduce_sum(words, axis=0)  # (T,), sequences that have a word at each time
        by_time = tf.gather(tf.transpose(inputs, (1, 0, 2)), longest_first, axis=1)  # (T, b, d)
        packed = tf.boolean_mask(by_time, tf.sequence_mask(counts, tf.shape(inputs)[0]))  # (P, d)
        for cell, dropout in self.parts:
            states = _states(cell, tf.split(_inputs(cell, packed), counts, num=inputs.shape[1]))
            packed = dropout(tf.concat(states, axis=0), training=training)  # (P, units)
        last = packed[tf.shape(packed)[0] - counts[-1] :]
        return tf.scatter_nd(longest_first[: counts[-1], None], last, (tf.shape(inputs)[0], self.units))


def _inputs(cell, packed):
    """What the words add to the four gates, for all times at once: `(P, 4 units)`."""
    return packed @ cell.kernel + cell.bias


def _states(cell, gates):
    """The states of an LSTM after each time, of the sequences that have a word then.

    Args:
        cell: its weights are used.
        gates: for each time what the words add to the gates, `(n, 4 units)`, with n growing.

    Returns:
        list of `(n, units)`.
    """
    hidden = carried = tf.zeros((0, cell.units), gates[0].dtype)
    states = []
    for added in gates:
        begun = tf.shape(added)[0] - tf.shape(hidden)[0]  # sequences whose first word this is
        hidden, carried = (tf.pad(state, ((0, begun), (0, 0))) for state in (hidden, carried))
        opened, kept, new, shown = tf.split(added + hidden @ cell.recurrent_kernel, 4, axis=1)
        carried = tf.sigmoid(kept) * carried + tf.sigmoid(opened) * tf.tanh(new)
        hidden = tf.sigmoid(shown) * tf.tanh(carried)
        states.append(hidden)
    return states
