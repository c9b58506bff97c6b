"""The training and test data of the three experiments, as section 4 describes them."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from examples import datasets

CONTEXT = 20  # words before the one to predict
PADDING = 0  # the id of no word
SHIFT = 4  # pixels, of CIFAR-10's augmentation


class Data(NamedTuple):
    """x and y as `fit` takes them, and the test set `(x, y)`; for Penn Treebank that is the validation text, as in the paper."""

    x: Any
    y: np.ndarray
    test: tuple[np.ndarray, np.ndarray]


def mnist(limit=None):
    """Section 4.1: images `(N, 28, 28, 1)` in [0, 1]."""
    (x, y), (x_test, y_test) = datasets.mnist()
    return Data(x[:limit], y[:limit], (x_test[:limit], y_test[:limit]))


def cifar10(limit=None):
    """Section 4.2: 500,000 augmented images `(32, 32, 3)` in [0, 1], ten of each original."""
    (x, y), (x_test, y_test) = datasets.cifar10()
    x, y = x[:limit], y[:limit]
    return Data(Augmented(x), np.tile(y, Augmented.COPIES), (_scaled(x_test[:limit]), y_test[:limit]))


class Augmented:
    """Ten fixed random versions of every image: sample i is image i mod N, flipped or not and shifted by up to 4 pixels.

    The transform of a sample depends on i alone, so that its history of losses is that of one image. It is made when the sample
    is read; only the originals are stored. What a shift uncovers is black.

    Args:
        images: uint8 `(N, height, width, channels)`.
        seed: of the transforms.
    """

    COPIES = 10

    def __init__(self, images, seed=0):
        self._images = images
        rng = np.random.default_rng(seed)
        size = self.COPIES * len(images)
        self._flips = rng.integers(2, size=size, dtype=np.int8)
        self._shifts = rng.integers(-SHIFT, SHIFT + 1, size=(size, 2), dtype=np.int8)

    def __len__(self):
        return len(self._flips)

    def __getitem__(self, i):
        """Returns float32 `(height, width, channels)` in [0, 1]."""
        image = self._images[i % len(self._images)]
        if self._flips[i]:
            image = image[:, ::-1]
        padded = np.pad(image, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
        top, left = SHIFT + self._shifts[i].astype(int)
        return _scaled(padded[top : top + image.shape[0], left : left + image.shape[1]])


def penn_treebank(limit=None):
    """Section 4.3: the 20 words before each word of a sentence, `(N, 20)` int32, and its id `(N,)`.

    Ids: 0 for no word, where a sentence has not so many before; then the 9,999 words of the training text in the order they
    first occur; last the end of sentence, which is predicted like a word: 10,001 in all.
    """
    text = datasets.penn_treebank()
    ids = {word: i for i, word in enumerate(dict.fromkeys(itertools.chain(*text["train"])), start=PADDING + 1)}
    train, valid = (_contexts(sentences[:limit], ids) for sentences in (text["train"], text["valid"]))
    return Data(*train, valid)


def _contexts(sentences, ids):
    end = len(ids) + 1
    x, y = [], []
    for sentence in sentences:
        words = np.array([*(ids[word] for word in sentence), end], np.int32)
        padded = np.concatenate([np.full(CONTEXT, PADDING, np.int32), words])
        x.append(np.lib.stride_tricks.sliding_window_view(padded[:-1], CONTEXT))
        y.append(words)
    return np.concatenate(x), np.concatenate(y)


def _scaled(images):
    return images.astype(np.float32) / np.float32(255)
