"""Imports TensorFlow without the lines that it prints before its log level counts: what it finds out about CUDA and oneDNN.

They come from C++, so `sys.stderr` does not see them: for the time of the import the file descriptor leads nowhere. What Python
raises is raised all the same.
"""

import contextlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow takes the kernels of oneDNN by itself on some processors only. With them a step takes 0.75 to 0.9 of the time, and a
# run that was begun with them cannot go on without, since they round differently
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@contextlib.contextmanager
def _nothing_on_stderr():
    with open(os.devnull, "wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


with _nothing_on_stderr():
    import tensorflow as tf

    tf.config.list_physical_devices()  # where it looks for CUDA
