"""One of two workers of a `MultiWorkerMirroredStrategy`; run by test_replicas.py, once for each, as a process of its own.

    python -m tests.multi_worker plain|importance port,port index

Prints what `fit` raised.
"""

import json
import os
import sys

import numpy as np


def main(how, ports, index):
    cluster = {"worker": [f"localhost:{port}" for port in ports.split(",")]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": int(index)}})
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # must come before anything else uses TensorFlow
    from importance_sampling import ImportanceTraining
    from tests.models import classifier

    with strategy.scope():
        model = classifier()
    fit = model.fit if how == "plain" else ImportanceTraining(model, "pcg", presample=16, seed=0).fit
    try:
        fit(np.zeros((32, 2), np.float32), np.arange(32) % 3, batch_size=8, verbose=0)
        print("trained")
    except Exception as error:
        print("raised", type(error).__name__, str(error)[:300].replace("\n", " "))


if __name__ == "__main__":
    main(*sys.argv[1:])
